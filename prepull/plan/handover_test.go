package plan

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
)

// What a workload asks for takes the place of what was declared for a limited time, and is added to what was declared for good.
func TestAWorkloadTakesOverWhatWasDeclaredWithAnEnd(t *testing.T) {
	t.Parallel()
	web, db := map[string]string{"pool": "web"}, map[string]string{"pool": "db"}
	login, other := v1alpha1.SecretReference{Namespace: "shop", Name: "login"}, v1alpha1.SecretReference{Namespace: "ops", Name: "other"}
	declared := prepulltest.Declared("app", "app:v1")
	declared.Spec.SetPlacement(v1alpha1.Placement{NodeSelector: db})
	declared.Spec.ImagePullSecrets = []v1alpha1.SecretReference{other}
	used := v1alpha1.PrepullImageStatus{
		FirstSeenTime: &metav1.Time{Time: prepulltest.Noon}, UserCount: 1,
		Placements: []v1alpha1.Placement{{NodeSelector: web}}, PullSecrets: []v1alpha1.SecretReference{login},
	}
	for name, test := range map[string]struct {
		ttl, used  bool
		declared   bool
		placements []v1alpha1.Placement
		secrets    []v1alpha1.SecretReference
	}{
		"for good, unused":     {false, false, true, []v1alpha1.Placement{{NodeSelector: db}}, []v1alpha1.SecretReference{other}},
		"for good, used":       {false, true, true, []v1alpha1.Placement{{NodeSelector: web}, {NodeSelector: db}}, []v1alpha1.SecretReference{other, login}},
		"for a while, unused":  {true, false, true, []v1alpha1.Placement{{NodeSelector: db}}, []v1alpha1.SecretReference{other}},
		"for a while and used": {true, true, false, []v1alpha1.Placement{{NodeSelector: web}}, []v1alpha1.SecretReference{login}},
	} {
		o := declared.DeepCopy()
		if test.ttl {
			o.Spec.TTL = &metav1.Duration{Duration: time.Hour}
		}
		if test.used {
			o.Status = used
		}
		found, _ := candidates([]v1alpha1.PrepullImage{*o}, prepulltest.Noon)
		if len(found) != 1 || found[0].declared != test.declared || !found[0].inUse {
			t.Fatalf("%s: it is %+v", name, found)
		}
		if diff := cmp.Diff(test.placements, found[0].placements) + cmp.Diff(test.secrets, found[0].PullSecrets); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
