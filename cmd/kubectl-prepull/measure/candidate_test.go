package measure

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func node(name string, change ...func(*corev1.Node)) corev1.Node {
	n := corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelOSStable: "linux"}},
		Status:     corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}},
	}
	for _, c := range change {
		c(&n)
	}
	return n
}

func reports(images ...string) func(*corev1.Node) {
	return func(n *corev1.Node) {
		for _, i := range images {
			n.Status.Images = append(n.Status.Images, corev1.ContainerImage{Names: []string{i}})
		}
	}
}

func TestCandidates(t *testing.T) {
	t.Parallel()
	var many []string
	for i := range reportedImages {
		many = append(many, fmt.Sprintf("docker.io/library/other:%d", i))
	}
	cordoned := func(n *corev1.Node) { n.Spec.Unschedulable = true }
	tainted := func(n *corev1.Node) { n.Spec.Taints = []corev1.Taint{{Key: "a", Effect: corev1.TaintEffectNoExecute}} }
	avoided := func(n *corev1.Node) {
		n.Spec.Taints = []corev1.Taint{{Key: "a", Effect: corev1.TaintEffectPreferNoSchedule}}
	}
	prepulled := corev1.Pod{
		Spec: corev1.PodSpec{NodeName: "a", InitContainers: []corev1.Container{{Name: "i", Image: "app:v1"}}},
		Status: corev1.PodStatus{InitContainerStatuses: []corev1.ContainerStatus{
			{Name: "i", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}},
		}},
	}
	for name, test := range map[string]struct {
		nodes []corev1.Node
		pods  []corev1.Pod
		want  []string
	}{
		"a node that lacks it":         {[]corev1.Node{node("a", reports("docker.io/library/app:v1")), node("b")}, nil, []string{"b"}},
		"a prepull pod has brought it": {[]corev1.Node{node("a"), node("b")}, []corev1.Pod{prepulled}, []string{"b"}},
		"another tag does not count":   {[]corev1.Node{node("a", reports("docker.io/library/app:v2"))}, nil, []string{"a"}},
		"all have it":                  {[]corev1.Node{node("b", reports("docker.io/library/app:v1")), node("a", reports("docker.io/library/app:v1"))}, nil, []string{"a"}},
		"nodes in use first":           {[]corev1.Node{node("a", cordoned), node("b", tainted), node("c", reports(many...)), node("d", avoided)}, nil, []string{"d", "c", "a"}},
		"no node":                      {nil, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(test.want, candidates(test.nodes, test.pods, "app:v1")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestUsable(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		node corev1.Node
		want string
	}{
		"a ready node": {node("a"), ""},
		"not ready": {node("a", func(n *corev1.Node) {
			n.Status.Conditions[0].Status, n.Status.Conditions[0].Message = corev1.ConditionUnknown, "Kubelet stopped"
		}), "node a is not ready: Kubelet stopped"},
		"new":     {node("a", func(n *corev1.Node) { n.Status.Conditions = nil }), "node a is not ready"},
		"windows": {node("a", func(n *corev1.Node) { n.Labels[corev1.LabelOSStable] = "windows" }), "only Linux"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := usable(&test.node)
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}
