package v1alpha1

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

func TestWhereADeclaredImageGoes(t *testing.T) {
	t.Parallel()
	seconds := int64(5)
	for name, p := range map[string]Placement{
		"anywhere": {},
		"to nodes with labels and taints": {
			NodeSelector: map[string]string{"pool": "web", "zone": ""},
			Tolerations:  []corev1.Toleration{{Operator: corev1.TolerationOpExists}, {Key: "gpu", Value: "a", Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &seconds}},
		},
	} {
		spec := PrepullImageSpec{NodeSelector: map[string]LabelValue{"former": "one"}, Tolerations: []Toleration{{Key: "former"}}}
		spec.SetPlacement(p)
		if diff := cmp.Diff(p, spec.Placement()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
