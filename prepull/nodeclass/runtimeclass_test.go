package nodeclass

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
)

func TestResolve(t *testing.T) {
	t.Parallel()
	sandbox := corev1.Toleration{Key: "sandbox", Operator: corev1.TolerationOpExists}
	team := corev1.Toleration{Key: "team", Operator: corev1.TolerationOpEqual, Value: "a"}
	named := func(name string, scheduling *nodev1.Scheduling) nodev1.RuntimeClass {
		return nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Handler: "runc", Scheduling: scheduling}
	}
	classes := RuntimeClassesOf([]nodev1.RuntimeClass{
		named("plain", nil),
		named("empty", &nodev1.Scheduling{}),
		named("kata", &nodev1.Scheduling{NodeSelector: map[string]string{"kata": "yes"}, Tolerations: []corev1.Toleration{sandbox}}),
	})
	web := map[string]string{"pool": "web"}
	for name, test := range map[string]struct {
		asked, want v1alpha1.Placement
		refusal     string
	}{
		"no RuntimeClass":                      {asked: v1alpha1.Placement{NodeSelector: web}, want: v1alpha1.Placement{NodeSelector: web}},
		"one that asks for nothing":            {asked: v1alpha1.Placement{RuntimeClassName: "plain", NodeSelector: web}, want: v1alpha1.Placement{NodeSelector: web}},
		"one with an empty scheduling":         {asked: v1alpha1.Placement{RuntimeClassName: "empty"}},
		"its node selector and tolerations":    {asked: v1alpha1.Placement{RuntimeClassName: "kata"}, want: v1alpha1.Placement{NodeSelector: map[string]string{"kata": "yes"}, Tolerations: []corev1.Toleration{sandbox}}},
		"beside those of the pods":             {asked: v1alpha1.Placement{RuntimeClassName: "kata", NodeSelector: web, Tolerations: []corev1.Toleration{team}}, want: v1alpha1.Placement{NodeSelector: map[string]string{"pool": "web", "kata": "yes"}, Tolerations: []corev1.Toleration{team, sandbox}}},
		"what a stored pod has already":        {asked: v1alpha1.Placement{RuntimeClassName: "kata", NodeSelector: map[string]string{"kata": "yes"}, Tolerations: []corev1.Toleration{sandbox}}, want: v1alpha1.Placement{NodeSelector: map[string]string{"kata": "yes"}, Tolerations: []corev1.Toleration{sandbox}}},
		"the rest stays":                       {asked: v1alpha1.Placement{RuntimeClassName: "plain", Resources: []string{"example.com/gpu"}}, want: v1alpha1.Placement{Resources: []string{"example.com/gpu"}}},
		"one that does not exist fits nowhere": {asked: v1alpha1.Placement{RuntimeClassName: "gvisor", NodeSelector: web}, want: nowhere(), refusal: "RuntimeClass gvisor does not exist: no pod can start."},
		"one that contradicts fits nowhere": {
			asked: v1alpha1.Placement{RuntimeClassName: "kata", NodeSelector: map[string]string{"kata": "no"}}, want: nowhere(),
			refusal: "RuntimeClass kata asks for nodes with kata=yes, and its pods for kata=no: no pod can start.",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := *test.asked.DeepCopy()
			got, refusal := classes.Resolve(test.asked)
			if diff := cmp.Diff(test.want, got); diff != "" || refusal != test.refusal {
				t.Errorf("refusal %q, want %q; placement (-want +got):\n%s", refusal, test.refusal, diff)
			}
			if diff := cmp.Diff(before, test.asked); diff != "" {
				t.Errorf("what was asked changed:\n%s", diff)
			}
		})
	}
	n := prepulltest.Node("n", "amd64")
	p := nowhere()
	if Fits(&n, NewPlacement(&p)) {
		t.Error("nowhere is somewhere")
	}
}
