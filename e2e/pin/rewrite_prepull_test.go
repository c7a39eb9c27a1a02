package pin

import (
	"github.com/kube-prepull/kube-prepull/e2e/lab"

	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-prepull/kube-prepull/e2e/images"
)

// TestAPinnedImageIsThereBeforeTheFirstPod has a Deployment without replicas whose image is pinned, moves the tag, cuts the
// registry off, and only then lets pods come. In the end the namespace wants no more pins, and the tag is learned.
func TestAPinnedImageIsThereBeforeTheFirstPod(t *testing.T) {
	t.Parallel()
	p := product{lab.Lease(t)}
	p.rewrittenNamespace(t, "shop")
	tag := p.Push(t, "shop/app:latest", images.Image{Size: 1 << 20, Seed: 601})
	digest := p.digest(t, tag)
	pinned := strings.TrimSuffix(tag, ":latest") + "@" + digest
	d := lab.Deployment("app", tag, 0)
	d.Spec.Template.Spec.Containers[0].ImagePullPolicy = corev1.PullAlways
	p.deployPinned(t, "shop", d, tag+"@"+digest)

	p.WaitOnNodes(t, pinned, "node-1", "node-2")
	p.WaitState(t, pinned, "Ready")
	p.WaitUsers(t, pinned, "1")
	if p.PrepullImage(t, tag) != nil || p.Listed(t, tag) {
		t.Error("the tag is pre-pulled too")
	}
	if pods := p.podsOf(t, "shop", "app"); len(pods) > 0 {
		t.Fatalf("there are %d pods before the Deployment has replicas", len(pods))
	}
	lab.Eventually(t, "the nodes to report the size, so that no registry is asked", func() error {
		if lab.Field(p.PrepullImage(t, pinned), "status", "sizeBytes") == "" {
			return errors.New("they do not")
		}
		return nil
	})

	p.Push(t, "shop/app:latest", images.Image{Size: 1 << 20, Seed: 602})
	before := p.Registry.Counts("shop/app")
	p.Registry.SetDown(true)
	t.Cleanup(func() { p.Registry.SetDown(false) })
	p.scale(t, "shop", "app", 1)
	p.requireRewritten(t, p.waitPods(t, "shop", "app", 1), pinned, tag)
	// Without the registry a call would not have been counted.
	p.Registry.SetDown(false)
	p.scale(t, "shop", "app", 2)
	p.requireRewritten(t, p.waitPods(t, "shop", "app", 2), pinned, tag)
	if after := p.Registry.Counts("shop/app"); after != before {
		t.Errorf("the registry was asked: %+v, before %+v", after, before)
	}

	unlabel := []byte(`{"metadata":{"labels":{"kube-prepull.io/rewrite":null}}}`)
	if _, err := p.Client().CoreV1().Namespaces().Patch(t.Context(), "shop", types.MergePatchType, unlabel, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	p.WaitOnNodes(t, tag, "node-1", "node-2")
}

// rewrittenNamespace makes a namespace that is opted in and has its latest images pinned. It ends with its cluster.
func (p product) rewrittenNamespace(t *testing.T, name string) {
	t.Helper()
	labels := map[string]string{"kube-prepull.io/enabled": "true", "kube-prepull.io/rewrite": "latest"}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	if _, err := p.Client().CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// digest is what a tag points to.
func (p product) digest(t *testing.T, image string) string {
	t.Helper()
	reference, err := name.ParseReference(image, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	found, err := remote.Head(reference, remote.WithTransport(p.Registry.Transport()), remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	return found.Digest.String()
}

// deployPinned makes a Deployment, and checks that its container app got a pin and nothing else changed. It waits until a
// dry run is pinned: an API server may not yet have what a new installation registered.
func (p product) deployPinned(t *testing.T, namespace string, d *appsv1.Deployment, pin string) {
	t.Helper()
	client := p.Client().AppsV1().Deployments(namespace)
	lab.Eventually(t, "a dry run to be pinned", func() error {
		tried, err := client.Create(t.Context(), d, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err != nil {
			return err
		}
		if got := tried.Spec.Template.Annotations["pin.kube-prepull.io/app"]; got != pin {
			return fmt.Errorf("the pin is %q", got)
		}
		return nil
	})
	made, err := client.Create(t.Context(), d, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got := made.Spec.Template.Annotations["pin.kube-prepull.io/app"]; got != pin {
		t.Fatalf("the pin is %q, want %q", got, pin)
	}
	got, want := made.Spec.Template.Spec.Containers[0], d.Spec.Template.Spec.Containers[0]
	if got.Image != want.Image || got.ImagePullPolicy != want.ImagePullPolicy {
		t.Errorf("the template has %s (%s), want %s (%s) as it was written", got.Image, got.ImagePullPolicy, want.Image, want.ImagePullPolicy)
	}
}

func (p product) scale(t *testing.T, namespace, deployment string, replicas int) {
	t.Helper()
	patch := fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, replicas)
	if _, err := p.Client().AppsV1().Deployments(namespace).Patch(t.Context(), deployment, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// podsOf are the pods with the label app and a name.
func (p product) podsOf(t *testing.T, namespace, app string) []corev1.Pod {
	t.Helper()
	pods, err := p.Client().CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "app=" + app})
	if err != nil {
		t.Fatal(err)
	}
	return pods.Items
}

// waitPods returns the pods of an app when there are so many and all run.
func (p product) waitPods(t *testing.T, namespace, app string, count int) []corev1.Pod {
	t.Helper()
	var pods []corev1.Pod
	lab.Eventually(t, fmt.Sprintf("%d pods of %s to run", count, app), func() error {
		pods = p.podsOf(t, namespace, app)
		waits := func(pod corev1.Pod) bool { return !lab.PodRunning(&pod) }
		if i := slices.IndexFunc(pods, waits); i >= 0 {
			return fmt.Errorf("%s with %s is %s: %s", pods[i].Name, pods[i].Spec.Containers[0].Image, pods[i].Status.Phase, lab.WaitingReason(&pods[i]))
		}
		if len(pods) != count {
			return fmt.Errorf("there are %d", len(pods))
		}
		return nil
	})
	return pods
}

// requireRewritten checks that pods of a container app have the digest in the place of the tag, and found it on their nodes.
func (p product) requireRewritten(t *testing.T, pods []corev1.Pod, pinned, tag string) {
	t.Helper()
	for _, pod := range pods {
		if c := pod.Spec.Containers[0]; c.Image != pinned || c.ImagePullPolicy != corev1.PullIfNotPresent {
			t.Errorf("%s has %s (%s), want %s (IfNotPresent)", pod.Name, c.Image, c.ImagePullPolicy, pinned)
		}
		if got := pod.Annotations["kube-prepull.io/rewritten"]; got != "app="+tag {
			t.Errorf("%s is marked as rewritten from %q", pod.Name, got)
		}
		if message := p.PulledEvent(t, pod.Namespace, pod.Name); !strings.Contains(message, "already present") {
			t.Errorf("of %s the kubelet says %q", pod.Name, message)
		}
	}
}
