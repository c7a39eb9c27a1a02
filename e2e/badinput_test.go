package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kube-prepull/kube-prepull/e2e/images"
	"github.com/kube-prepull/kube-prepull/e2e/registry"
)

func zero() *resource.Quantity { return resource.NewQuantity(0, resource.DecimalSI) }

func createStatefulSet(ctx context.Context, client kubernetes.Interface, namespace string, selector *metav1.LabelSelector, template corev1.PodTemplateSpec) error {
	_, err := client.AppsV1().StatefulSets(namespace).Create(ctx, &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: "statefulset"},
		Spec:       appsv1.StatefulSetSpec{Selector: selector, Template: template, ServiceName: "statefulset"},
	}, metav1.CreateOptions{})
	return err
}

// TestABrokenImageDelaysNobody has four that cannot be pulled, each for a reason of its own, and one that can.
func TestABrokenImageDelaysNobody(t *testing.T) {
	p := sharedProduct(t)
	p.namespace(t, "broken", true)
	private := p.push(t, "broken/private:v1", images.Image{Seed: 61})
	p.registry.Private("broken/private", registry.Auth{User: "u", Password: "p"})
	hanging := p.push(t, "broken/hanging:v1", images.Image{Seed: 62})
	p.registry.SetFault("broken/hanging", registry.Refuse(500))
	t.Cleanup(func() { p.registry.LiftFault("broken/hanging") })
	good := p.push(t, "broken/z-good:v1", images.Image{Seed: 63})

	missing := p.registry.Addr() + "/broken/missing:v1"
	unparsable := p.registry.Addr() + "/Broken Image:::v1"
	for name, image := range map[string]string{
		"a-missing": missing, "b-private": private, "c-failing": hanging, "d-unparsable": strings.ReplaceAll(unparsable, " ", "_"),
	} {
		p.deploy(t, "broken", deployment(name, image, 0))
	}
	p.deploy(t, "broken", deployment("z-good", good, 0))
	start := time.Now()
	p.waitOnNodes(t, good, "node-1", "node-2")
	// The one that fails with 500 is tried twice, 10 to 15 seconds apart; the others take a second or two each.
	took := time.Since(start)
	t.Logf("the good image, last in the list, is on both nodes after %s", took.Round(100*time.Millisecond))
	if took > 45*time.Second {
		t.Errorf("the good image took %s behind the broken ones", took)
	}

	for image, want := range map[string]struct{ state, words string }{
		missing:                                  {"PullFailed: not found", "not found"},
		private:                                  {"PullFailed: access denied", "authorization failed"},
		hanging:                                  {"PullFailed", "500"},
		strings.ReplaceAll(unparsable, " ", "_"): {"Skipped: InvalidImage", "Broken_Image"},
	} {
		object := p.waitState(t, image, want.state)
		_, _, failed := condition(object, "PullFailed")
		_, _, selected := condition(object, "Selected")
		if !strings.Contains(strings.ToLower(failed+selected), strings.ToLower(want.words)) {
			t.Errorf("%s says %q and %q, want a word of %q", image, failed, selected, want.words)
		}
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
	p := ownProduct(t, "node-1") // it holds up its nodes
	p.namespace(t, "hang", true)
	hanging := p.push(t, "hang/hanging:v1", images.Image{Seed: 66})
	good := p.push(t, "hang/good:v1", images.Image{Seed: 67})
	p.registry.SetFault("hang/hanging", registry.Hang())
	t.Cleanup(func() { p.registry.LiftFault("hang/hanging") })
	p.deploy(t, "hang", deployment("a-hanging", hanging, 0))
	p.deploy(t, "hang", deployment("b-good", good, 0))
	object := p.waitState(t, hanging, "PullFailed")
	if _, _, message := condition(object, "PullFailed"); !strings.Contains(message, "timeout") && !strings.Contains(message, pullDeadline.String()) {
		t.Errorf("the condition says %q, want that there was no answer in time", message)
	}
	p.waitState(t, good, "Ready")
}

// TestHugeAndOddWorkloads has a name of 1,000 characters, and 200 containers in one Deployment.
func TestHugeAndOddWorkloads(t *testing.T) {
	t.Parallel()
	p := sharedProduct(t)
	p.namespace(t, "huge", true)
	long := p.registry.Addr() + "/" + strings.Repeat("a", 960) + ":v1"
	p.deploy(t, "huge", deployment("long", long, 0))
	many := deployment("many", "", 0)
	many.Spec.Template.Spec.Containers = nil
	for i := range 200 {
		many.Spec.Template.Spec.Containers = append(many.Spec.Template.Spec.Containers, corev1.Container{
			Name: fmt.Sprintf("c%d", i), Image: fmt.Sprintf("%s/huge/c:v%d", p.registry.Addr(), i%4),
		})
	}
	for i := range 4 {
		p.push(t, fmt.Sprintf("huge/c:v%d", i), images.Image{Seed: uint64(70 + i)})
	}
	p.deploy(t, "huge", many)
	for i := range 4 {
		p.waitState(t, fmt.Sprintf("%s/huge/c:v%d", p.registry.Addr(), i), "Ready")
	}
	eventually(t, 30*time.Second, "the long name to have a reason", func() error {
		object := p.prepullImage(t, long)
		if object == nil {
			return fmt.Errorf("it is not known")
		}
		if state := field(object, "status", "state"); !strings.HasPrefix(state, "Skipped: InvalidImage") && !strings.HasPrefix(state, "PullFailed") {
			return fmt.Errorf("its state is %q", state)
		}
		return nil
	})
}
