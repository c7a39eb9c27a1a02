package learn

import (
	"slices"
	"testing"
	"time"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
	"github.com/kube-prepull/kube-prepull/prepull/workload/workloadtest"
)

// What an image was worth is not lost with it, however short it is kept: what took its place has its starts, and nothing else has.
func TestStartsPassOnWhenAnImageGoes(t *testing.T) {
	t.Parallel()
	now := prepulltest.Noon
	left := learned{Users: deployments("api")}.withoutUsers(now).seen(now.Add(-time.Hour))
	left.Starts = starts("9", now)
	in := func(name, count string) learned {
		l := learned{}.withUsers(deployments(name), freely, now)
		if count != "" {
			l.Starts = starts(count, now)
		}
		return l
	}
	for name, tc := range map[string]struct {
		next  v1alpha1.PrepullImage
		want  float64
		keeps bool
	}{
		"the next version":                     {used("r.test/app:v2", in("api", "")), 9, false},
		"it has some of its own":               {used("r.test/app:v2", in("api", "2")), 9, false},
		"it has more of its own":               {used("r.test/app:v2", in("api", "12")), 12, false},
		"from another registry":                {used("mirror.test/app:v2", in("api", "")), 9, false},
		"of another workload":                  {used("r.test/app:v2", in("web", "")), 0, false},
		"another image of the workload":        {used("r.test/proxy:v1", in("api", "")), 0, false},
		"while the one that it replaces stays": {used("r.test/app:v2", in("api", "")), 0, true},
	} {
		c := censusOf("shop")
		user := tc.next.Status.Users[0].Name
		for _, o := range []string{"api", "web"} {
			if o == user {
				c.add(workloadtest.Deployment(o, tc.next.Spec.Image))
			} else {
				c.add(workloadtest.Deployment(o, "r.test/base:v1"))
			}
		}
		c.settle()
		keep := testRetention
		if !tc.keeps {
			keep.rollback = 0
		}
		stored := carriedOut([]v1alpha1.PrepullImage{used("r.test/app:v1", left), tc.next}, planned(c, keep, used("r.test/app:v1", left), tc.next))
		at := slices.IndexFunc(stored, func(o v1alpha1.PrepullImage) bool { return o.Spec.Image == tc.next.Spec.Image })
		if got := stored[at].Status.Starts.At(now); got != tc.want {
			t.Errorf("%s: %v starts, want %v", name, got, tc.want)
		}
		if again := planned(c, keep, stored...); len(again) > 0 {
			t.Errorf("%s: the next resync changes %d", name, len(again))
		}
		if gone := !slices.ContainsFunc(stored, func(o v1alpha1.PrepullImage) bool { return o.Spec.Image == "r.test/app:v1" }); gone == tc.keeps {
			t.Errorf("%s: the former version is gone: %v", name, gone)
		}
	}
}

func planned(c *census, keep retention, images ...v1alpha1.PrepullImage) []change {
	changes, _ := planResync(images, c, keep, prepulltest.Noon)
	return changes
}

// What took an image's place may start meanwhile: the larger number counts.
func TestStartsThatAreFlushedMeanwhile(t *testing.T) {
	t.Parallel()
	object := used("r.test/app:v2", learned{}.withUsers(deployments("api"), freely, prepulltest.Noon))
	for flushed, want := range map[string]float64{"2": 9, "12": 12} {
		have := learnedOf(object.Status)
		have.Starts = starts(flushed, prepulltest.Noon)
		next, ok := change{image: "r.test/app:v2", object: &object, want: learnedOf(object.Status), inherits: starts("9", prepulltest.Noon)}.replace(have)
		if got := next.Starts.At(prepulltest.Noon); got != want || !ok {
			t.Errorf("of %s and 9 there are %v, want %v", flushed, got, want)
		}
	}
}
