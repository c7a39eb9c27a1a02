package learn

import (
	"github.com/kube-prepull/kube-prepull/e2e/lab"

	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kube-prepull/kube-prepull/e2e/images"
	"github.com/kube-prepull/kube-prepull/e2e/registry"
)

func createStatefulSet(ctx context.Context, client kubernetes.Interface, namespace string, selector *metav1.LabelSelector, template corev1.PodTemplateSpec) error {
	_, err := client.AppsV1().StatefulSets(namespace).Create(ctx, &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: "statefulset"},
		Spec:       appsv1.StatefulSetSpec{Selector: selector, Template: template, ServiceName: "statefulset"},
	}, metav1.CreateOptions{})
	return err
}

// TestABrokenImageDelaysNobody has four that cannot be pulled, each for a reason of its own, and one that can.
func TestABrokenImageDelaysNobody(t *testing.T) {
	t.Parallel()
	p := product{lab.Lease(t)}
	p.Namespace(t, "broken", true)
	private := p.Push(t, "broken/private:v1", images.Image{Seed: 61})
	p.Registry.Private("broken/private", registry.Auth{User: "u", Password: "p"})
	hanging := p.Push(t, "broken/hanging:v1", images.Image{Seed: 62})
	p.Registry.SetFault("broken/hanging", registry.Refuse(500))
	t.Cleanup(func() { p.Registry.LiftFault("broken/hanging") })
	good := p.Push(t, "broken/z-good:v1", images.Image{Seed: 63})

	missing := p.Registry.Addr() + "/broken/missing:v1"
	unparsable := p.Registry.Addr() + "/Broken Image:::v1"
	for name, image := range map[string]string{
		"a-missing": missing, "b-private": private, "c-failing": hanging, "d-unparsable": strings.ReplaceAll(unparsable, " ", "_"),
	} {
		p.Deploy(t, "broken", lab.Deployment(name, image, 0))
	}
	p.Deploy(t, "broken", lab.Deployment("z-good", good, 0))
	watch := lab.StartStopwatch()
	p.WaitOnNodes(t, good, "node-1", "node-2")
	// The one that fails with 500 is tried twice, 10 to 15 seconds apart; the others take a second or two each.
	watch.Within(t, 45*time.Second, "the good image behind four broken ones")

	for image, want := range map[string]struct{ state, words string }{
		missing: {"PullFailed: not found", "not found"},
		private: {"PullFailed: access denied", "authorization failed"},
		hanging: {"PullFailed", "500"},
	} {
		object := p.WaitState(t, image, want.state)
		_, _, failed := lab.Condition(object, "PullFailed")
		_, _, selected := lab.Condition(object, "Selected")
		if !strings.Contains(strings.ToLower(failed+selected), strings.ToLower(want.words)) {
			t.Errorf("%s says %q and %q, want a word of %q", image, failed, selected, want.words)
		}
	}
	if object := p.PrepullImage(t, strings.ReplaceAll(unparsable, " ", "_")); object != nil {
		t.Errorf("what no kubelet takes for an image is stored: %v", object)
	}
	output, err := p.Kubectl(t.Context(), "get", "ppi")
	if err != nil || !strings.Contains(output, "PullFailed: not found") {
		t.Errorf("kubectl get ppi does not name the missing image (%v):\n%s", err, output)
	}
}

// TestAHangingRegistryIsNamed has an image whose registry takes the request and never answers. The kubelet pulls one image
// at a time, so the node is held up until its runtime gives up (30 s here); then the image is out of the way.
func TestAHangingRegistryIsNamed(t *testing.T) {
	t.Parallel()
	p := product{lab.Lease(t)}
	p.Namespace(t, "hang", true)
	hanging := p.Push(t, "hang/hanging:v1", images.Image{Seed: 66})
	good := p.Push(t, "hang/good:v1", images.Image{Seed: 67})
	p.Registry.SetFault("hang/hanging", registry.Hang())
	t.Cleanup(func() { p.Registry.LiftFault("hang/hanging") })
	p.Deploy(t, "hang", lab.Deployment("a-hanging", hanging, 0))
	p.Deploy(t, "hang", lab.Deployment("b-good", good, 0))
	object := p.WaitState(t, hanging, "PullFailed")
	if _, _, message := lab.Condition(object, "PullFailed"); !strings.Contains(message, "timeout") && !strings.Contains(message, lab.PullDeadline.String()) {
		t.Errorf("the condition says %q, want that there was no answer in time", message)
	}
	p.WaitState(t, good, "Ready")
}

// TestHugeAndOddWorkloads has a name of 1,000 characters, and 200 containers in one Deployment.
func TestHugeAndOddWorkloads(t *testing.T) {
	t.Parallel()
	p := product{lab.Shared(t)}
	p.Namespace(t, "huge", true)
	long := p.Registry.Addr() + "/" + strings.Repeat("a", 960) + ":v1"
	p.Deploy(t, "huge", lab.Deployment("long", long, 0))
	many := lab.Deployment("many", "", 0)
	many.Spec.Template.Spec.Containers = nil
	for i := range 200 {
		many.Spec.Template.Spec.Containers = append(many.Spec.Template.Spec.Containers, corev1.Container{
			Name: fmt.Sprintf("c%d", i), Image: fmt.Sprintf("%s/huge/c:v%d", p.Registry.Addr(), i%4),
		})
	}
	for i := range 4 {
		p.Push(t, fmt.Sprintf("huge/c:v%d", i), images.Image{Seed: uint64(70 + i)})
	}
	p.Deploy(t, "huge", many)
	for i := range 4 {
		p.WaitState(t, fmt.Sprintf("%s/huge/c:v%d", p.Registry.Addr(), i), "Ready")
	}
	if object := p.PrepullImage(t, long); object != nil {
		t.Errorf("a repository with a name that no kubelet takes is stored: %v", object)
	}
}
