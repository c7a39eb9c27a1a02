package prepull

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

func TestImagesOfAWorkload(t *testing.T) {
	t.Parallel()
	spec := corev1.PodSpec{
		NodeSelector:     map[string]string{"pool": "web"},
		ImagePullSecrets: []corev1.LocalObjectReference{{Name: "s"}},
		InitContainers:   []corev1.Container{{Name: "b", Image: "b:1"}},
		Containers:       []corev1.Container{{Name: "a", Image: "a:1"}, {Name: "c", Image: "a:1"}},
	}
	template := corev1.PodTemplateSpec{Spec: spec}
	meta := metav1.ObjectMeta{Namespace: "shop"}
	want := []Image{
		{Name: "a:1", Placements: []v1alpha1.Placement{{NodeSelector: spec.NodeSelector}}, PullSecrets: []v1alpha1.SecretReference{{Namespace: "shop", Name: "s"}}},
		{Name: "b:1", Placements: []v1alpha1.Placement{{NodeSelector: spec.NodeSelector}}, PullSecrets: []v1alpha1.SecretReference{{Namespace: "shop", Name: "s"}}},
	}
	for name, workload := range map[string]metav1.Object{
		"a pod":        &corev1.Pod{ObjectMeta: meta, Spec: spec},
		"a Deployment": &appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{Template: template}},
		"a CronJob": &batchv1.CronJob{ObjectMeta: meta, Spec: batchv1.CronJobSpec{
			JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: template}},
		}},
	} {
		if diff := cmp.Diff(want, ImagesOf(workload)); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
	}
	if got := ImagesOf(&corev1.Service{}); got != nil {
		t.Errorf("a Service has %v", got)
	}
}

// known is a learned image with some starts, a size in MiB and a placement.
func known(image string, starts, size int64, p v1alpha1.Placement, conditions ...metav1.Condition) v1alpha1.PrepullImage {
	now := metav1.NewTime(time.Unix(1e9, 0))
	o := v1alpha1.PrepullImage{ObjectMeta: metav1.ObjectMeta{Name: ObjectName(image), Labels: map[string]string{v1alpha1.LabelManagedBy: v1alpha1.Name}}}
	o.Spec.Image = image
	o.Status = v1alpha1.PrepullImageStatus{
		Conditions: conditions, FirstSeenTime: &now, SizeBytes: size << 20, Placements: []v1alpha1.Placement{p},
		Starts: &v1alpha1.Starts{Count: *resource.NewQuantity(starts, resource.DecimalSI), Time: now},
	}
	return o
}

func TestWantedOnNodes(t *testing.T) {
	t.Parallel()
	web := v1alpha1.Placement{NodeSelector: map[string]string{"pool": "web"}}
	gpu := v1alpha1.Placement{Tolerations: []corev1.Toleration{{Key: "gpu", Operator: corev1.TolerationOpExists}}}
	nowhere := metav1.Condition{Type: v1alpha1.ConditionSelected, Status: metav1.ConditionFalse, Reason: skippedNoNodes, Message: "No node."}
	over := metav1.Condition{Type: v1alpha1.ConditionSelected, Status: metav1.ConditionFalse, Reason: skippedOverBudget, Message: "Too much."}
	fails := metav1.Condition{Type: v1alpha1.ConditionPullFailed, Status: metav1.ConditionTrue, Message: "Not found."}
	objects := []v1alpha1.PrepullImage{
		known("large:1", 10, 1000, v1alpha1.Placement{}),
		known("hot:1", 100, 100, v1alpha1.Placement{}),
		known("cold:1", 1, 100, v1alpha1.Placement{}),
		known("web:1", 50, 100, web, nowhere),
		known("gpu:1", 40, 100, gpu),
		known("over:1", 1, 1, v1alpha1.Placement{}, over),
		known("fails:1", 1, 1, v1alpha1.Placement{}, fails),
		{ObjectMeta: metav1.ObjectMeta{Name: "declared"}, Spec: v1alpha1.PrepullImageSpec{Image: "declared:1", NodeSelector: web.NodeSelector}},
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
		images, absent := Wanted(objects, test.nodes, test.bytes, time.Unix(1e9, 0))
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

func TestAStandaloneDaemonSet(t *testing.T) {
	t.Parallel()
	affinity := &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{require("a", corev1.NodeSelectorOpExists)}}}}
	tolerations := []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	ds := Standalone{
		Name: "prepull", NoopImage: "noop:1", Images: []string{"b:1", "a:1"}, PullSecrets: []string{"s"},
		Placement: v1alpha1.Placement{NodeSelector: map[string]string{"pool": "web"}, NodeAffinity: affinity, Tolerations: tolerations},
	}.DaemonSet()
	spec := ds.Spec.Template.Spec
	if got := []string{spec.InitContainers[0].Image, spec.InitContainers[1].Image, spec.InitContainers[2].Image, spec.Containers[0].Image}; !cmp.Equal(got, []string{"noop:1", "b:1", "a:1", "noop:1"}) {
		t.Errorf("the images are %q", got)
	}
	if diff := cmp.Diff(map[string]string{"kubernetes.io/os": "linux", "pool": "web"}, spec.NodeSelector); diff != "" {
		t.Errorf("the node selector, -want +got:\n%s", diff)
	}
	if spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution != affinity || len(spec.Tolerations) != 1 || spec.ImagePullSecrets[0].Name != "s" {
		t.Errorf("the pod is %+v", spec)
	}
	for key := range v1alpha1.PrepullLabels() {
		if ds.Labels[key] == v1alpha1.PrepullLabels()[key] {
			t.Errorf("kube-prepull would take the DaemonSet for its own: %s=%s", key, ds.Labels[key])
		}
	}
}
