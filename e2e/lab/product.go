package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
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
	"github.com/kube-prepull/kube-prepull/e2e/registry"
)

// Product is kube-prepull on a cluster, and the registry that its nodes pull from.
type Product struct {
	*cluster.Cluster
	Registry *registry.Registry
	// Images are the PrepullImages.
	Images dynamic.ResourceInterface

	refusals   []span   // times without some permissions
	clockSpeed int      // of the managers, see Build
	chart      string   // that is installed
	settings   []string // what helm is told beside the settings of all tests
	changed    bool     // a test has changed the settings

	burntBefore time.Duration // processor time that the cluster had used when the test got it
}

const (
	System = "kube-prepull" // the release namespace

	// pullDeadline is shorter than the default, so that a test can wait for it.
	PullDeadline = 20 * time.Second
)

var prepullImages = schema.GroupVersionResource{Group: "kube-prepull.io", Version: "v1alpha1", Resource: "prepullimages"}

// Serve starts the registry, at an address of its own and at the one where nodes always find the images of kube-prepull: a
// cluster is used by one test after the other, and images of the same name are not to be the same.
func (p *Product) Serve(ctx context.Context) error {
	var err error
	if p.Registry, err = Serve(p.Cluster, registry.Options{}); err != nil {
		return err
	}
	if err := p.Registry.Listen(p.Home()); err != nil {
		return err
	}
	if err := p.TrustRegistry(p.Home()); err != nil {
		return err
	}
	images, err := built.images(Version, p.clockSpeed)
	if err != nil {
		return err
	}
	if err := Push(ctx, images, p.Registry.Addr(), p.tag()); err != nil {
		return err
	}
	client, err := dynamic.NewForConfig(p.Config())
	if err != nil {
		return err
	}
	p.Images = client.Resource(prepullImages)
	return nil
}

// Home is the address at which the images of kube-prepull are pulled.
func (p *Product) Home() string { return net.JoinHostPort(p.HostIP(), registryPort) }

// tag is that of the images of kube-prepull: a node that has one with other clocks would not pull it again.
func (p *Product) tag() string {
	if p.clockSpeed == 1 {
		return Version + "-shipped"
	}
	return Version
}

// Install installs kube-prepull, and returns once the API server knows where reviews are pinned.
func (p *Product) Install(ctx context.Context, args ...string) error {
	if err := p.Upgrade(ctx, args...); err != nil {
		return err
	}
	return p.WaitAddress(ctx)
}

// WaitAddress returns when the API server is told where reviews are pinned.
func (p *Product) WaitAddress(ctx context.Context) error {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline) && ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
		if path, err := p.RewritePath(ctx); path != "" || err != nil {
			return err
		}
	}
	return errors.New("the API server is not told where reviews are pinned")
}

// RewritePath is where the API server sends reviews that are pinned, empty as long as it is not told.
func (p *Product) RewritePath(ctx context.Context) (string, error) {
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

// Upgrade installs the chart, or upgrades to it, with the settings of these tests and more.
func (p *Product) Upgrade(ctx context.Context, args ...string) error {
	p.changed = true
	return installChart(ctx, p.Cluster, p.chart, p.Home(), p.tag(), slices.Concat([]string{"--set", "config.pullDeadline=" + PullDeadline.String()}, p.settings, args)...)
}

// Configure changes settings, and returns when a manager leads that has them: an old one leads for a while yet.
func (p *Product) Configure(t *testing.T, args ...string) {
	t.Helper()
	if err := p.Upgrade(t.Context(), args...); err != nil {
		t.Fatal(err)
	}
	Eventually(t, "a new manager to lead", p.led)
}

// Namespace makes a namespace, opted in or not, that ends with the test.
func (p *Product) Namespace(t *testing.T, name string, optedIn bool) {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{}}}
	if optedIn {
		namespace.Labels["kube-prepull.io/enabled"] = "true"
	}
	p.createNamespace(t, namespace)
}

// createNamespace makes a namespace that ends with the test. Nobody waits for it to be gone.
func (p *Product) createNamespace(t *testing.T, namespace *corev1.Namespace) {
	t.Helper()
	if _, err := p.Client().CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := p.Client().CoreV1().Namespaces().Delete(context.Background(), namespace.Name, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	})
}

// Deployment is one of an image, whose pods are labelled app=<name>.
func Deployment(name, image string, replicas int32) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: PodOn("", name, image).Spec},
		},
	}
}

// Deploy creates a Deployment.
func (p *Product) Deploy(t *testing.T, namespace string, d *appsv1.Deployment) {
	t.Helper()
	if _, err := p.Client().AppsV1().Deployments(namespace).Create(t.Context(), d, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// Push pushes an image of the sleeper under a name that is this test's own.
func (p *Product) Push(t *testing.T, name string, image images.Image) string {
	t.Helper()
	return PushSleeper(t, p.Registry, name, image)
}

// Declare makes a PrepullImage, as a person would.
func (p *Product) Declare(t *testing.T, name, image string) {
	t.Helper()
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "kube-prepull.io/v1alpha1", "kind": "PrepullImage",
		"metadata": map[string]any{"name": name}, "spec": map[string]any{"image": image},
	}}
	if _, err := p.Images.Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// PrepullImage is the object of an image, nil if there is none.
func (p *Product) PrepullImage(t *testing.T, image string) *unstructured.Unstructured {
	t.Helper()
	list, err := p.Images.List(context.Background(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range list.Items {
		if Field(&list.Items[i], "spec", "image") == image {
			return &list.Items[i]
		}
	}
	return nil
}

// Field is a field of an object as text, empty if there is none.
func Field(o *unstructured.Unstructured, path ...string) string {
	value, found, _ := unstructured.NestedFieldNoCopy(o.Object, path...)
	if !found {
		return ""
	}
	return fmt.Sprint(value)
}

// Condition is status, reason and message of a condition of an object.
func Condition(o *unstructured.Unstructured, kind string) (status, reason, message string) {
	list, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, item := range list {
		if c := item.(map[string]any); c["type"] == kind {
			return fmt.Sprint(c["status"]), fmt.Sprint(c["reason"]), fmt.Sprint(c["message"])
		}
	}
	return "", "", ""
}

// WaitState waits until the state of an image starts with some words, and returns its object.
func (p *Product) WaitState(t *testing.T, image, state string) *unstructured.Unstructured {
	t.Helper()
	var object *unstructured.Unstructured
	Eventually(t, image+" to be "+state, func() error {
		object = p.PrepullImage(t, image)
		if object == nil {
			return errors.New("it is not known")
		}
		if got := Field(object, "status", "state"); !strings.HasPrefix(got, state) {
			return fmt.Errorf("it is %q, %s on nodes", got, Field(object, "status", "ready"))
		}
		return nil
	})
	return object
}

// DaemonSets are the prepull DaemonSets.
func (p *Product) DaemonSets(t *testing.T) []appsv1.DaemonSet {
	t.Helper()
	list, err := p.Client().AppsV1().DaemonSets(System).List(context.Background(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// Listed says whether any DaemonSet would pull an image.
func (p *Product) Listed(t *testing.T, image string) bool {
	t.Helper()
	for _, ds := range p.DaemonSets(t) {
		if PullsImage(&ds.Spec.Template.Spec, image) {
			return true
		}
	}
	return false
}

// PulledEvent waits for the kubelet's event about the image of a pod.
func (p *Product) PulledEvent(t *testing.T, namespace, pod string) string {
	t.Helper()
	var message string
	Eventually(t, "the Pulled event of "+pod, func() error {
		events, err := p.Client().CoreV1().Events(namespace).List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.name=" + pod + ",reason=Pulled"})
		if err != nil || len(events.Items) == 0 {
			return fmt.Errorf("there is none (%v)", err)
		}
		message = events.Items[0].Message
		return nil
	})
	return message
}

// Managers are the running pods of the manager.
func (p *Product) Managers(t *testing.T) []corev1.Pod {
	t.Helper()
	pods, err := p.Client().CoreV1().Pods(System).List(context.Background(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=webhook"})
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(pods.Items, func(pod corev1.Pod) bool { return pod.DeletionTimestamp != nil || !PodRunning(&pod) })
}

// Admissions is how many requests have reached the webhook, whichever manager answered.
func (p *Product) Admissions(t *testing.T) int {
	t.Helper()
	sum := 0.0
	for _, manager := range p.Managers(t) {
		sum += p.Metric(t, manager, "kube_prepull_admissions_total{")
	}
	return int(sum)
}

// ScaleManagers waits until as many managers run.
func (p *Product) ScaleManagers(t *testing.T, replicas int) {
	t.Helper()
	patch := fmt.Sprintf(`{"spec":{"replicas":%d}}`, replicas)
	if _, err := p.Client().AppsV1().Deployments(System).Patch(context.Background(), "kube-prepull", "application/merge-patch+json", []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	Eventually(t, fmt.Sprintf("%d managers", replicas), func() error {
		if got := len(p.Managers(t)); got != replicas {
			return fmt.Errorf("there are %d", got)
		}
		return nil
	})
}

// WaitUsers waits until an image has so many users.
func (p *Product) WaitUsers(t *testing.T, image, count string) {
	t.Helper()
	Eventually(t, image+" to have "+count+" users", func() error {
		object := p.PrepullImage(t, image)
		if object == nil {
			return errors.New("it is not known")
		}
		got := Field(object, "status", "userCount")
		if got == "" {
			got = "0"
		}
		if got != count {
			return fmt.Errorf("it has %s", got)
		}
		return nil
	})
}

// WaitRunning waits until the only pod of a namespace runs.
func (p *Product) WaitRunning(t *testing.T, namespace string) {
	t.Helper()
	Eventually(t, "the pod of namespace "+namespace+" to run", func() error {
		pods, err := p.Client().CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{})
		if err != nil || len(pods.Items) != 1 || !PodRunning(&pods.Items[0]) {
			return fmt.Errorf("it does not (%v)", err)
		}
		return nil
	})
}
