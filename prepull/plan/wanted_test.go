package plan

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/nodeclass"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// known is a learned image with some starts, a size in MiB and a placement.
func known(image string, starts, size int64, p v1alpha1.Placement, conditions ...metav1.Condition) v1alpha1.PrepullImage {
	now := metav1.NewTime(time.Unix(1e9, 0))
	o := v1alpha1.PrepullImage{ObjectMeta: metav1.ObjectMeta{Name: workload.ObjectName(image), Labels: map[string]string{v1alpha1.LabelManagedBy: v1alpha1.Name}}}
	o.Spec.Image = image
	o.Status = v1alpha1.PrepullImageStatus{
		Conditions: conditions, FirstSeenTime: &now, SizeBytes: size << 20, Placements: []v1alpha1.Placement{p},
		Starts: &v1alpha1.Starts{Count: *resource.NewQuantity(starts, resource.DecimalSI), Time: now},
	}
	return o
}

// Placements of images are given without RuntimeClasses.
func TestWantedOfARuntimeClass(t *testing.T) {
	t.Parallel()
	selector := map[string]string{"kata": "yes"}
	objects := []v1alpha1.PrepullImage{known("a:1", 1, 1, v1alpha1.Placement{RuntimeClassName: "kata"})}
	classes := nodeclass.RuntimeClasses{"kata": {NodeSelector: selector}}
	nodes := []corev1.Node{{ObjectMeta: metav1.ObjectMeta{Labels: selector}}}
	images, _ := Wanted(objects, nodes, classes, 0, time.Unix(1e9, 0))
	if want := []v1alpha1.Placement{{NodeSelector: selector}}; len(images) != 1 || !cmp.Equal(images[0].Placements, want) {
		t.Errorf("images %+v", images)
	}
	nodes[0].Labels = nil
	if images, _ = Wanted(objects, nodes, classes, 0, time.Unix(1e9, 0)); len(images) != 0 {
		t.Errorf("on another node: %+v", images)
	}
}

func TestWantedOnNodes(t *testing.T) {
	t.Parallel()
	web := v1alpha1.Placement{NodeSelector: map[string]string{"pool": "web"}}
	gpu := v1alpha1.Placement{Tolerations: []corev1.Toleration{{Key: "gpu", Operator: corev1.TolerationOpExists}}}
	nowhere := metav1.Condition{Type: v1alpha1.ConditionSelected, Status: metav1.ConditionFalse, Reason: skippedNoNodes, Message: "No node."}
	over := metav1.Condition{Type: v1alpha1.ConditionSelected, Status: metav1.ConditionFalse, Reason: SkippedOverBudget, Message: "Too much."}
	fails := metav1.Condition{Type: v1alpha1.ConditionPullFailed, Status: metav1.ConditionTrue, Message: "Not found."}
	objects := []v1alpha1.PrepullImage{
		known("large:1", 10, 1000, v1alpha1.Placement{}),
		known("hot:1", 100, 100, v1alpha1.Placement{}),
		known("cold:1", 1, 100, v1alpha1.Placement{}),
		known("web:1", 50, 100, web, nowhere),
		known("gpu:1", 40, 100, gpu),
		known("over:1", 1, 1, v1alpha1.Placement{}, over),
		known("fails:1", 1, 1, v1alpha1.Placement{}, fails),
		{ObjectMeta: metav1.ObjectMeta{Name: "declared"}, Spec: v1alpha1.PrepullImageSpec{Image: "declared:1", NodeSelector: map[string]v1alpha1.LabelValue{"pool": "web"}}},
		{ObjectMeta: metav1.ObjectMeta{Name: "invalid"}, Spec: v1alpha1.PrepullImageSpec{Image: "a b"}},
	}
	node := func(labels map[string]string, taints ...corev1.Taint) corev1.Node {
		return corev1.Node{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.NodeSpec{Taints: taints}}
	}
	plain, webNode := node(nil), node(web.NodeSelector)
	gpuNode := node(nil, corev1.Taint{Key: "gpu", Effect: corev1.TaintEffectNoSchedule})
	always := []Absent{{"a b", "the image cannot be parsed: invalid reference format"}, {"fails:1", "Not found."}, {"over:1", "Too much."}}
	for name, test := range map[string]struct {
		nodes  []corev1.Node
		bytes  int64
		want   []string
		absent []Absent
	}{
		"any node":               {nil, 0, []string{"hot:1", "gpu:1", "cold:1", "large:1", "declared:1"}, append(always, Absent{"web:1", "No node."})},
		"a node like others":     {[]corev1.Node{plain}, 0, []string{"hot:1", "gpu:1", "cold:1", "large:1"}, always},
		"a node yet to come":     {[]corev1.Node{webNode}, 0, []string{"hot:1", "web:1", "gpu:1", "cold:1", "large:1", "declared:1"}, always},
		"a tainted node":         {[]corev1.Node{gpuNode}, 0, []string{"gpu:1"}, always[:1]},
		"nodes of several kinds": {[]corev1.Node{gpuNode, plain}, 0, []string{"hot:1", "gpu:1", "cold:1", "large:1"}, always},
		"little room": {[]corev1.Node{plain}, 350 << 20, []string{"hot:1", "gpu:1", "cold:1"}, append([]Absent{
			always[0], always[1],
			{"large:1", "The images of a node take 367 MB at most (--max-bytes), and this one alone takes 1.0 GB."},
		}, always[2])},
	} {
		images, absent := Wanted(objects, test.nodes, nil, test.bytes, time.Unix(1e9, 0))
		var got []string
		for _, image := range images {
			got = append(got, image.Name)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
		if diff := cmp.Diff(test.absent, absent); diff != "" {
			t.Errorf("%s: left out, -want +got:\n%s", name, diff)
		}
	}
}
