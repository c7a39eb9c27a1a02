package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/kube-prepull/kube-prepull/e2e/cluster"
	"github.com/kube-prepull/kube-prepull/e2e/images"
	"github.com/kube-prepull/kube-prepull/e2e/lab"
	"github.com/kube-prepull/kube-prepull/e2e/registry"
)

// product is a cluster of two real nodes with kube-prepull installed, shared by the tests that only use it.
type product struct {
	*cluster.Cluster
	registry *registry.Registry
	images   dynamic.ResourceInterface // PrepullImages
	refusals []span                    // times without some permissions
	settings []string                  // what helm is told beside the settings of all tests
}

const (
	system = "kube-prepull" // the release namespace

	// pullDeadline is shorter than the default, so that a test can wait for it.
	pullDeadline = 20 * time.Second
)

var prepullImages = schema.GroupVersionResource{Group: "kube-prepull.io", Version: "v1alpha1", Resource: "prepullimages"}

var shared struct {
	sync.Once
	product *product
	dir     string
	err     error
}

// sharedProduct returns the installed product; the first test that asks waits for it. downShared ends it.
func sharedProduct(t *testing.T) *product {
	t.Helper()
	requireNodes(t)
	shared.Do(func() {
		if shared.dir, shared.err = os.MkdirTemp(systemTemporary, "kpp-"); shared.err == nil {
			shared.product, shared.err = upProduct(context.Background(), shared.dir, "node-1", "node-2")
		}
		if shared.err == nil {
			shared.err = shared.product.install(context.Background())
		}
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.product
}

func downShared() error {
	if shared.product == nil {
		return nil
	}
	return errors.Join(shared.product.registry.Close(), takeDown(shared.product.Cluster), os.RemoveAll(shared.dir))
}

// ownProduct is a product for one test that breaks it.
func ownProduct(t *testing.T, nodes ...string) *product {
	t.Helper()
	p := uninstalled(t, nodes...)
	if err := p.install(t.Context()); err != nil {
		t.Fatal(err)
	}
	return p
}

// uninstalled is a cluster for one test, whose registry has the images of kube-prepull.
func uninstalled(t *testing.T, nodes ...string) *product {
	t.Helper()
	requireNodes(t)
	p, err := upProduct(t.Context(), shortTempDir(t), nodes...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(p.registry.Close(), takeDown(p.Cluster, p.refusals...)); err != nil {
			t.Error(err)
		}
	})
	return p
}

func upProduct(ctx context.Context, dir string, nodes ...string) (*product, error) {
	o := cluster.Options{Dir: dir}
	for _, name := range nodes {
		o.Nodes = append(o.Nodes, cluster.Node{Name: name})
	}
	c, err := cluster.Up(ctx, audited(o))
	if err != nil {
		return nil, err
	}
	p := &product{Cluster: c}
	if err := p.serve(ctx); err != nil {
		return nil, errors.Join(err, c.Down(context.Background()))
	}
	return p, nil
}

// serve starts the registry.
func (p *product) serve(ctx context.Context) error {
	var err error
	if p.registry, err = lab.Serve(p.Cluster, registry.Options{}); err != nil {
		return err
	}
	images, err := once.product(lab.Version)
	if err != nil {
		return err
	}
	if err := lab.Push(ctx, images, p.registry.Addr(), lab.Version); err != nil {
		return err
	}
	client, err := dynamic.NewForConfig(p.Config())
	if err != nil {
		return err
	}
	p.images = client.Resource(prepullImages)
	return nil
}

func (p *product) install(ctx context.Context) error {
	if err := p.upgrade(ctx); err != nil {
		return err
	}
	return p.waitAddress(ctx)
}

// waitAddress returns when the API server is told where reviews are pinned.
func (p *product) waitAddress(ctx context.Context) error {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline) && ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
		if path, err := p.rewritePath(ctx); path != "" || err != nil {
			return err
		}
	}
	return errors.New("the API server is not told where reviews are pinned")
}

// rewritePath is where the API server sends reviews that are pinned, empty as long as it is not told.
func (p *product) rewritePath(ctx context.Context) (string, error) {
	config, err := p.Client().AdmissionregistrationV1().MutatingWebhookConfigurations().Get(ctx, "kube-prepull", metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	for _, w := range config.Webhooks {
		if path := w.ClientConfig.Service.Path; strings.Contains(w.Name, ".rewrite.") && path != nil && len(w.ClientConfig.CABundle) > 0 {
			return *path, nil
		}
	}
	return "", nil
}

// upgrade installs the chart, or upgrades to it, with the settings of these tests and more.
func (p *product) upgrade(ctx context.Context, args ...string) error {
	return lab.Install(ctx, p.Cluster, p.registry.Addr(), slices.Concat([]string{"--set", "config.pullDeadline=" + pullDeadline.String()}, p.settings, args)...)
}

// configure changes settings, and returns when a manager leads that has them: an old one leads for a while yet.
func (p *product) configure(t *testing.T, args ...string) {
	t.Helper()
	if err := p.upgrade(t.Context(), args...); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, "a new manager to lead", func() error {
		lease, err := p.Client().CoordinationV1().Leases(system).Get(t.Context(), "kube-prepull", metav1.GetOptions{})
		if err != nil || lease.Spec.HolderIdentity == nil {
			return fmt.Errorf("nobody leads (%v)", err)
		}
		leads := func(manager corev1.Pod) bool { return strings.HasPrefix(*lease.Spec.HolderIdentity, manager.Name+"_") }
		if !slices.ContainsFunc(p.managers(t), leads) {
			return fmt.Errorf("the leader is %s", *lease.Spec.HolderIdentity)
		}
		return nil
	})
}

// namespace makes a namespace, opted in or not. On the shared cluster it ends with the test; any other ends with its cluster.
func (p *product) namespace(t *testing.T, name string, optedIn bool) {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{}}}
	if optedIn {
		namespace.Labels["kube-prepull.io/enabled"] = "true"
	}
	if _, err := p.Client().CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if p == shared.product {
		t.Cleanup(func() { p.deleteNamespace(t, name) })
	}
}

// deleteNamespace waits: the next test counts what is in the DaemonSets.
func (p *product) deleteNamespace(t *testing.T, name string) {
	ctx := context.Background()
	if err := p.Client().CoreV1().Namespaces().Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
	eventually(t, time.Minute, "namespace "+name+" to be gone", func() error {
		_, err := p.Client().CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("it is there (%v)", err)
	})
}

func deployment(name, image string, replicas int32) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: podOn("", name, image).Spec},
		},
	}
}

func (p *product) deploy(t *testing.T, namespace string, d *appsv1.Deployment) {
	t.Helper()
	if _, err := p.Client().AppsV1().Deployments(namespace).Create(t.Context(), d, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// push pushes an image of the sleeper under a name that is this test's own.
func (p *product) push(t *testing.T, name string, image images.Image) string {
	t.Helper()
	return pushSleeper(t, p.registry, name, image)
}

// declare makes a PrepullImage, as a person would.
func (p *product) declare(t *testing.T, name, image string) {
	t.Helper()
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "kube-prepull.io/v1alpha1", "kind": "PrepullImage",
		"metadata": map[string]any{"name": name}, "spec": map[string]any{"image": image},
	}}
	if _, err := p.images.Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// prepullImage is the object of an image, nil if there is none.
func (p *product) prepullImage(t *testing.T, image string) *unstructured.Unstructured {
	t.Helper()
	list, err := p.images.List(context.Background(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range list.Items {
		if field(&list.Items[i], "spec", "image") == image {
			return &list.Items[i]
		}
	}
	return nil
}

// field is a field of an object as text, empty if there is none.
func field(o *unstructured.Unstructured, path ...string) string {
	value, found, _ := unstructured.NestedFieldNoCopy(o.Object, path...)
	if !found {
		return ""
	}
	return fmt.Sprint(value)
}

// condition is status, reason and message of a condition of an object.
func condition(o *unstructured.Unstructured, kind string) (status, reason, message string) {
	list, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, item := range list {
		if c := item.(map[string]any); c["type"] == kind {
			return fmt.Sprint(c["status"]), fmt.Sprint(c["reason"]), fmt.Sprint(c["message"])
		}
	}
	return "", "", ""
}

// waitState waits until the state of an image starts with some words, and returns its object.
func (p *product) waitState(t *testing.T, image, state string) *unstructured.Unstructured {
	t.Helper()
	var object *unstructured.Unstructured
	eventually(t, 2*time.Minute, image+" to be "+state, func() error {
		object = p.prepullImage(t, image)
		if object == nil {
			return errors.New("it is not known")
		}
		if got := field(object, "status", "state"); !strings.HasPrefix(got, state) {
			return fmt.Errorf("it is %q, %s on nodes", got, field(object, "status", "ready"))
		}
		return nil
	})
	return object
}

// onNode says whether a node's prepull pod has run an image.
func (p *product) onNode(t *testing.T, image, node string) bool {
	t.Helper()
	for _, pod := range p.prepullPods(t) {
		if pod.Spec.NodeName != node {
			continue
		}
		i := slices.IndexFunc(pod.Spec.InitContainers, func(c corev1.Container) bool { return c.Image == image })
		if i < 0 {
			continue
		}
		for _, s := range pod.Status.InitContainerStatuses {
			if s.Name == pod.Spec.InitContainers[i].Name && s.State.Terminated != nil && s.State.Terminated.ExitCode == 0 {
				return true
			}
		}
	}
	return false
}

func (p *product) waitOnNodes(t *testing.T, image string, nodes ...string) {
	t.Helper()
	eventually(t, 2*time.Minute, fmt.Sprintf("%s to be on %v", image, nodes), func() error {
		for _, node := range nodes {
			if !p.onNode(t, image, node) {
				return errors.New("it is not on " + node)
			}
		}
		return nil
	})
}

func (p *product) prepullPods(t *testing.T) []corev1.Pod {
	t.Helper()
	pods, err := p.Client().CoreV1().Pods(system).List(context.Background(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=prepull"})
	if err != nil {
		t.Fatal(err)
	}
	return pods.Items
}

func (p *product) daemonSets(t *testing.T) []appsv1.DaemonSet {
	t.Helper()
	list, err := p.Client().AppsV1().DaemonSets(system).List(context.Background(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// listed says whether any DaemonSet would pull an image.
func (p *product) listed(t *testing.T, image string) bool {
	t.Helper()
	for _, ds := range p.daemonSets(t) {
		if slices.ContainsFunc(ds.Spec.Template.Spec.InitContainers, func(c corev1.Container) bool { return c.Image == image }) {
			return true
		}
	}
	return false
}

// pulledEvent waits for the kubelet's event about the image of a pod.
func (p *product) pulledEvent(t *testing.T, namespace, pod string) string {
	t.Helper()
	var message string
	eventually(t, 30*time.Second, "the Pulled event of "+pod, func() error {
		events, err := p.Client().CoreV1().Events(namespace).List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.name=" + pod + ",reason=Pulled"})
		if err != nil || len(events.Items) == 0 {
			return fmt.Errorf("there is none (%v)", err)
		}
		message = events.Items[0].Message
		return nil
	})
	return message
}

// managers are the running pods of the manager.
func (p *product) managers(t *testing.T) []corev1.Pod {
	t.Helper()
	pods, err := p.Client().CoreV1().Pods(system).List(context.Background(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=webhook"})
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(pods.Items, func(pod corev1.Pod) bool { return pod.DeletionTimestamp != nil || !podRunning(&pod) })
}

// admissions is how many requests have reached the webhook, whichever manager answered.
func (p *product) admissions(t *testing.T) int {
	t.Helper()
	sum := 0.0
	for _, manager := range p.managers(t) {
		sum += p.metric(t, manager, "kube_prepull_admissions_total{")
	}
	return int(sum)
}

// scaleManagers waits until as many managers run.
func (p *product) scaleManagers(t *testing.T, replicas int) {
	t.Helper()
	patch := fmt.Sprintf(`{"spec":{"replicas":%d}}`, replicas)
	if _, err := p.Client().AppsV1().Deployments(system).Patch(context.Background(), "kube-prepull", "application/merge-patch+json", []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, fmt.Sprintf("%d managers", replicas), func() error {
		if got := len(p.managers(t)); got != replicas {
			return fmt.Errorf("there are %d", got)
		}
		return nil
	})
}
