package plan

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/nodeclass"
)

func TestAStandaloneDaemonSet(t *testing.T) {
	t.Parallel()
	affinity := &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{nodeclass.Require("a", corev1.NodeSelectorOpExists)}}}}
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

func TestTheContainersOfAListHaveNamesOfTheirOwn(t *testing.T) {
	t.Parallel()
	spec := Standalone{Name: "prepull", NoopImage: "noop:1", Images: []string{"r1791.test/a", "r44621.test/a"}}.DaemonSet().Spec.Template.Spec
	if a, b := spec.InitContainers[1].Name, spec.InitContainers[2].Name; a == b {
		t.Errorf("both are %s", a)
	}
}
