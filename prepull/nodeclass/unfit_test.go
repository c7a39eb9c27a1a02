package nodeclass

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

func TestUnfit(t *testing.T) {
	t.Parallel()
	zone := func(values ...string) *corev1.NodeSelector {
		return &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{
			{Key: "zone", Operator: corev1.NodeSelectorOpIn, Values: values},
		}}}}
	}
	gpu := corev1.Taint{Key: "gpu", Value: "a100", Effect: corev1.TaintEffectNoSchedule}
	tests := map[string]struct {
		asked  v1alpha1.Placement
		taints []corev1.Taint
		want   string
	}{
		"nothing is asked for":             {v1alpha1.Placement{}, nil, ""},
		"a label that the node has":        {v1alpha1.Placement{NodeSelector: map[string]string{"pool": "web"}}, nil, ""},
		"another value":                    {v1alpha1.Placement{NodeSelector: map[string]string{"pool": "batch"}}, nil, "the node has the label pool=web, and batch is asked for"},
		"a label that it lacks":            {v1alpha1.Placement{NodeSelector: map[string]string{"disk": "ssd", "pool": "web"}}, nil, "the node has no label disk, and ssd is asked for"},
		"an affinity that fits":            {v1alpha1.Placement{NodeAffinity: zone("a", "b")}, nil, ""},
		"an affinity that does not":        {v1alpha1.Placement{NodeAffinity: zone("b")}, nil, "the node is not one that the required node affinity allows"},
		"a taint":                          {v1alpha1.Placement{}, []corev1.Taint{gpu}, "the taint gpu=a100:NoSchedule of the node is not tolerated"},
		"a taint that is tolerated":        {v1alpha1.Placement{Tolerations: []corev1.Toleration{{Key: "gpu", Operator: corev1.TolerationOpExists}}}, []corev1.Taint{gpu}, ""},
		"a taint of a node that is new":    {v1alpha1.Placement{}, []corev1.Taint{{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule}}, ""},
		"a resource":                       {v1alpha1.Placement{Resources: []string{rdma}}, nil, ""},
		"a resource that it lacks":         {v1alpha1.Placement{Resources: []string{rdma, "example.com/gpu"}}, []corev1.Taint{gpu}, "the node does not offer example.com/gpu"},
		"another label goes before taints": {v1alpha1.Placement{NodeSelector: map[string]string{"pool": "x"}}, []corev1.Taint{gpu}, "the node has the label pool=web, and x is asked for"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: map[string]string{"pool": "web", "zone": "a"}}, Spec: corev1.NodeSpec{Taints: test.taints}}
			*n = offering(*n, rdma)
			if got := Unfit(n, &test.asked); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
