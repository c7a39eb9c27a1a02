package learn

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
	"github.com/kube-prepull/kube-prepull/prepull/workload/workloadtest"
)

const day = 24 * time.Hour

// builds are an image of builds that ran on some days before noon, the earliest first, each with a number of pods.
func builds(pods int, days ...int) learned {
	var l learned
	for _, ago := range days {
		now := prepulltest.Noon.Add(-time.Duration(ago) * day)
		l = l.withUse(v1alpha1.User{Kind: "Pod", Namespace: "shop", Name: "build"}, freely, now)
		l.Starts = l.Starts.Plus(pods, now)
		l = l.withoutUsers(now.Add(time.Hour))
	}
	return l
}

func TestWhatIsRemembered(t *testing.T) {
	t.Parallel()
	left := builds(2, 4, 3)
	left.Users[0].Namespace = "left"
	kept := func(l learned) learned { l.Remembered = true; return l }
	for name, test := range map[string]struct {
		before   learned
		declared bool
		stored   string // the name of a Deployment that is there
		want     string
	}{
		"builds of every weekday, on a Monday":      {before: builds(1, 7, 6, 5, 4, 3), want: "remembered"},
		"and so they stay":                          {before: kept(builds(1, 7, 6, 5, 4, 3)), want: "remembered"},
		"within the retention":                      {before: builds(1, 3, 2, 1), want: "kept"},
		"an image of a build that ran once":         {before: builds(50, 3), want: "gone"},
		"one of a day long ago, which ran again":    {before: builds(1, 30, 2), want: "gone"},
		"one that ran on two days, in one pod each": {before: builds(1, 4, 3), want: "remembered"},
		"more than eight days later":                {before: kept(builds(50, 10, 9)), want: "gone"},
		"one whose namespace opted out":             {before: kept(left), want: "gone"},
		"what a rollout displaced":                  {before: builds(50, 5, 4, 3), stored: "build", want: "gone"},
		"a declared one":                            {before: builds(50, 5, 4, 3), declared: true, want: "kept"},
		"without any starts":                        {before: learned{}.withUses(5).withoutUsers(prepulltest.Noon.Add(-3 * day)), want: "gone"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := censusOf("shop")
			if test.stored != "" {
				c.add(workloadtest.Deployment(test.stored, "other:v1"))
				test.before.Users[0].Kind = "Deployment"
			}
			o := used("build:v1", test.before)
			if test.declared {
				o.Labels = nil
			}
			next, gone := retire(&o, c, testRetention, prepulltest.Noon)
			got := "kept"
			if gone {
				got = "gone"
			} else if next.Remembered {
				got = "remembered"
			}
			if got != test.want {
				t.Errorf("it is %s, want %s: %+v", got, test.want, next)
			}
		})
	}
}

// withUses is l after a user that was seen some days ago.
func (l learned) withUses(ago int) learned {
	return l.withUse(v1alpha1.User{Kind: "Pod", Namespace: "shop", Name: "build"}, freely, prepulltest.Noon.Add(-time.Duration(ago)*day))
}

func TestWhatIsUsedAgainIsNoMemory(t *testing.T) {
	t.Parallel()
	l := builds(2, 4, 3)
	l.Remembered = true
	if next := l.withUses(0); next.Remembered || next.UserCount != 1 {
		t.Errorf("a pod starts with it, and it is %+v", next)
	}
	if next := l.withUsers(deployments("api"), freely, prepulltest.Noon); next.Remembered || next.UserCount != 1 {
		t.Errorf("the census finds a user, and it is %+v", next)
	}
}

func TestMemoriesHaveWhatRoomThereIsInTurns(t *testing.T) {
	t.Parallel()
	memory := func(namespace string, pods, i int) v1alpha1.PrepullImage {
		l := builds(pods, 4, 3)
		l.Remembered, l.Users[0].Namespace = true, namespace
		return used(fmt.Sprintf("%s-%d:v%d", namespace, i, pods), l)
	}
	var images []v1alpha1.PrepullImage
	for i := range maxKnown - 4 {
		images = append(images, used(fmt.Sprintf("app-%d:v1", i), learned{}.withUsers(deployments("a"), freely, yesterday)))
	}
	flood := []v1alpha1.PrepullImage{memory("flood", 9, 0), memory("flood", 9, 1), memory("flood", 9, 2), memory("flood", 5, 3)}
	shop := []v1alpha1.PrepullImage{memory("shop", 1, 0), memory("shop", 2, 1)}
	if got := forgotten(slices.Concat(images, flood), prepulltest.Noon); len(got) > 0 {
		t.Errorf("with room for four, %v are forgotten", got)
	}
	all := slices.Concat(images, flood, shop)
	want := []string{flood[2].Name, flood[3].Name}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(forgotten(all, prepulltest.Noon)))); diff != "" {
		t.Errorf("forgotten are (-want +got):\n%s", diff)
	}
	for i := range 100 {
		images = append(images, used(fmt.Sprintf("more-%d:v1", i), learned{}.withUsers(deployments("a"), freely, yesterday)))
	}
	c := censusOf("shop", "flood")
	for _, o := range images {
		c.add(workloadtest.Deployment("a", o.Spec.Image))
	}
	retired := 0
	changes, _ := planResync(slices.Concat(images, flood, shop), c, testRetention, prepulltest.Noon)
	for _, change := range changes {
		if change.retire {
			retired++
		}
	}
	if retired != len(flood)+len(shop) {
		t.Errorf("without room %d are retired, want all %d", retired, len(flood)+len(shop))
	}
	wrong := testRetention
	wrong.suspended = true
	changes, _ = planResync(slices.Concat(images, flood, shop), c, wrong, prepulltest.Noon)
	if slices.ContainsFunc(changes, func(c change) bool { return c.retire }) {
		t.Error("with a clock that is wrong some are retired")
	}
	clear(c.read)
	if changes, _ := planResync(slices.Concat(images, flood, shop), c, testRetention, prepulltest.Noon); len(changes) > 0 {
		t.Errorf("a partial census changes %d", len(changes))
	}
}
