package plan

import (
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
)

func selectedAs(o v1alpha1.PrepullImage, is metav1.ConditionStatus, reason string) v1alpha1.PrepullImage {
	o.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionSelected, Status: is, Reason: reason}}
	return o
}

func TestRankOf(t *testing.T) {
	t.Parallel()
	listed := func(o v1alpha1.PrepullImage) v1alpha1.PrepullImage {
		return selectedAs(o, metav1.ConditionTrue, "WithinBudget")
	}
	over := func(o v1alpha1.PrepullImage) v1alpha1.PrepullImage {
		return selectedAs(o, metav1.ConditionFalse, SkippedOverBudget)
	}
	a := listed(usedBy("r.test/a:v1", 10, "a"))
	a.Status.SizeBytes = 500_000_000
	kept := over(usedBy("r.test/b:v1", 12, "b"))
	kept.Status.UserCount = 0
	urgent := over(usedBy("urgent:1", 0, "urgent"))
	urgent.Status.Priority, urgent.Status.Autoscaled = 7, true
	broken := listed(usedBy("broken:1", 1, "broken"))
	broken.Status.Retries = []v1alpha1.Retry{{NodeClass: "linux-amd64", Failures: 1}}
	others := []v1alpha1.PrepullImage{a, kept, urgent, broken, over(usedBy("r.test/c:v1", 15, "c"))}
	for name, tc := range map[string]struct {
		image v1alpha1.PrepullImage
		want  string
	}{
		"in use and on the nodes":         {a, "2 of 5 [in use starts that count as 10, twice since it has a place 500 MB]"},
		"kept":                            {kept, "5 of 5 [not in use, and kept starts that count as 12 210 MB as long as its size is not known]"},
		"one that matters to its users":   {urgent, "1 of 5 [in use scaled by load priority 7 starts that count as 0 210 MB as long as its size is not known]"},
		"one that fails":                  {broken, "4 of 5 [in use it fails starts that count as 1, twice since it has a place 210 MB as long as its size is not known]"},
		"declared":                        {prepulltest.Declared("mine", "mine:1"), "1 of 6 [declared by a person starts that count as 0 210 MB as long as its size is not known]"},
		"a new version":                   {over(usedBy("r.test/a:v2", 0, "a")), "2 of 6 [in use starts that count as 10, as those of the version that it replaces, twice since it has a place 210 MB as long as its size is not known]"},
		"one whose time is near":          {listed(memory(startedWith("usual:1", 8, aWeekAgo.Add(time.Hour)))), "5 of 6 [not in use, and its usual time is near starts that count as 34.6, since more are usual in the next hours, twice since it has a place 210 MB as long as its size is not known]"},
		"one that is only known has none": {selectedAs(memory(startedWith("usual:1", 8, aWeekAgo)), metav1.ConditionFalse, SkippedRemembered), ""},
		"nor has one that is left out":    {selectedAs(usedBy("z:1", 8, "z"), metav1.ConditionFalse, SkippedExcluded), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			objects := append([]v1alpha1.PrepullImage{tc.image}, others...)
			for i := range others {
				if others[i].Name == tc.image.Name {
					objects = others
				}
			}
			got := ""
			if r := RankOf(objects, &tc.image, prepulltest.Noon); r != nil {
				got = fmt.Sprintf("%d of %d %v", r.Place, r.Of, r.Why)
			}
			if got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}
