package explain

import (
	"fmt"
	"testing"
	"time"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/inventory"
)

func TestHowOftenPodsStart(t *testing.T) {
	t.Parallel()
	if a := startsAnswerOf(nil, noon); a != nil {
		t.Errorf("without starts it is %+v", a)
	}
	var s *v1alpha1.Starts
	for i := range 8 {
		s = s.Plus(i+1, noon.Add(time.Duration(i-7*24)*time.Hour))
	}
	a := startsAnswerOf(s, noon.Add(-time.Minute))
	if a.Expected < 2.5 || a.Expected > 3.5 || a.ExpectedHours != 4 || a.Count <= 0 || a.Count > 1 {
		t.Errorf("it is %+v", a)
	}
	if got, want := fmt.Sprint(a.BusiestHours), "[2026-01-02 18:00:00 +0000 UTC 2026-01-02 19:00:00 +0000 UTC 2026-01-02 16:00:00 +0000 UTC 2026-01-02 17:00:00 +0000 UTC 2026-01-02 15:00:00 +0000 UTC]"; got != want {
		t.Errorf("the busiest hours are\n%s, want\n%s", got, want)
	}
	if got := (&startsAnswer{}).busiestWords(); got != "" {
		t.Errorf("of none they are %q", got)
	}
}

func TestKeptWords(t *testing.T) {
	t.Parallel()
	for want, k := range map[string]inventory.Kept{
		"for a while after its users went: for 2 h 0 min more":                                           {For: inventory.KeptForRetention, Until: noon.Add(2 * time.Hour)},
		"its users' namespace is not opted in any more: for 40 s more":                                   {For: inventory.KeptForOptOut, Until: noon.Add(40 * time.Second)},
		"for a rollback: for 2 h 0 min more; displaced by r.test/app:v2":                                 {For: inventory.KeptForRollback, Until: noon.Add(2 * time.Hour), By: "r.test/app:v2"},
		"for a rollback: for 3 h 0 min more":                                                             {For: inventory.KeptForRollback, Until: noon.Add(3 * time.Hour)},
		"for a while after its users went: the time is over":                                             {For: inventory.KeptForRetention, Until: noon},
		"declared with an end (spec.ttl): for 90 min 0 s more":                                           {For: inventory.KeptForTTL, Until: noon.Add(90 * time.Minute)},
		"because it is likely to start again at its usual time of the week: for 24 h 0 min more at most": {For: inventory.KeptForUsualTime, Until: noon.Add(24 * time.Hour)},
	} {
		if got := keptWords(&k, noon); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
