package plan

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
	"github.com/kube-prepull/kube-prepull/prepull/warmth"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

func TestJudge(t *testing.T) {
	t.Parallel()
	final := warmth.Failure{Cause: warmth.CauseNotFound, Settled: true, Since: prepulltest.Noon.Add(-time.Minute)}
	first := warmth.Failure{Cause: warmth.CauseUnreachable, Since: prepulltest.Noon.Add(-time.Minute)}
	settled := warmth.Failure{Cause: warmth.CauseUnreachable, Settled: true, Since: prepulltest.Noon.Add(-time.Minute)}
	limited := warmth.Failure{Cause: warmth.CauseRateLimit, Settled: true, Since: prepulltest.Noon.Add(-time.Minute)}
	limitedLong := warmth.Failure{Cause: warmth.CauseRateLimit, Settled: true, Since: prepulltest.Noon.Add(-10 * time.Minute)}
	old := warmth.Failure{Cause: warmth.CauseNotFound, Settled: true, Since: prepulltest.Noon.Add(-10 * time.Minute)}
	retry := func(failures int32, in time.Duration) *v1alpha1.Retry {
		return &v1alpha1.Retry{NodeClass: "c", Failures: failures, Time: metav1.NewTime(prepulltest.Noon.Add(in))}
	}
	because := func(reason string, r *v1alpha1.Retry) *v1alpha1.Retry {
		r.Reason = reason
		return r
	}
	for name, tc := range map[string]struct {
		failing      []warmth.Failure
		ran, pulling int
		present      int
		waiting      int
		unlisted     bool
		firstList    bool
		surge        int
		retry        *v1alpha1.Retry
		standing     standing
		next         *v1alpha1.Retry
	}{
		"nothing fails": {ran: 3, waiting: 5, standing: standingGood},
		"a final answer from any node counts at once": {
			failing: []warmth.Failure{final}, pulling: 100, waiting: 101, standing: standingOut, next: because("NotFound", retry(1, 5*time.Minute)),
		},
		"the first failure of another kind does not count yet": {
			failing: []warmth.Failure{first}, waiting: 1, standing: standingGood,
		},
		"it counts when the kubelet backs off": {
			failing: []warmth.Failure{settled}, waiting: 1, standing: standingOut, next: because("RegistryUnreachable", retry(1, 5*time.Minute)),
		},
		"a registry that asks for rest gives it later to nodes that had no list before": {
			failing: []warmth.Failure{limited, limited, limited}, firstList: true, ran: 1, waiting: 4, surge: 1, standing: standingLast,
			next: because("RateLimited", retry(1, time.Minute)),
		},
		"it stays there when its time has come": {
			failing: []warmth.Failure{limitedLong}, firstList: true, waiting: 1, retry: because("RateLimited", retry(1, -time.Minute)), standing: standingLast,
			next: because("RateLimited", retry(1, -time.Minute)),
		},
		"and while new pods come to it": {
			waiting: 1, retry: because("RateLimited", retry(1, -time.Minute)), standing: standingLast, next: because("RateLimited", retry(1, -time.Minute)),
		},
		"it does not stay for the first nodes for any other reason": {
			failing: []warmth.Failure{settled}, firstList: true, waiting: 1, standing: standingOut, next: because("RegistryUnreachable", retry(1, 5*time.Minute)),
		},
		"the first nodes take nothing of the surge": {
			failing: []warmth.Failure{final, final, final}, firstList: true, ran: 3, waiting: 6, surge: 5, standing: standingLast,
			next: because("NotFound", retry(1, 5*time.Minute)),
		},
		"a registry that asks for rest is asked again after a minute": {
			failing: []warmth.Failure{limited}, waiting: 1, standing: standingOut, next: because("RateLimited", retry(1, time.Minute)),
		},
		"then after two": {
			failing: []warmth.Failure{limited}, waiting: 1, retry: because("RateLimited", retry(1, -time.Minute)), standing: standingOut, next: because("RateLimited", retry(2, 2*time.Minute)),
		},
		"what else is wrong counts for more": {
			failing: []warmth.Failure{limited, settled}, waiting: 2, standing: standingOut, next: because("RegistryUnreachable", retry(1, 5*time.Minute)),
		},
		"one node among many is to blame itself": {
			failing: []warmth.Failure{settled}, ran: 1, pulling: 1, waiting: 500, standing: standingGood,
		},
		"one node that fails is to blame while another one has it, whatever the answer": {
			failing: []warmth.Failure{final}, ran: 1, waiting: 2, standing: standingGood,
		},
		"a copy that something else brought there counts too": {
			failing: []warmth.Failure{final}, present: 1, waiting: 2, standing: standingGood,
		},
		"two nodes that fail are to blame while more have it": {
			failing: []warmth.Failure{final, final}, ran: 3, waiting: 5, standing: standingGood,
		},
		"two nodes that fail and two that have it blame the image, which stays at the end, protected": {
			failing: []warmth.Failure{final, settled}, ran: 2, waiting: 4, standing: standingLast, next: because("NotFound", retry(1, 5*time.Minute)),
		},
		"an image that most nodes do not have leaves": {
			failing: []warmth.Failure{final, final, final}, ran: 2, waiting: 5, standing: standingOut, next: because("NotFound", retry(1, 5*time.Minute)),
		},
		"an image whose failures take up the surge leaves": {
			failing: []warmth.Failure{final, final, final}, ran: 3, waiting: 6, surge: 5, standing: standingOut, next: because("NotFound", retry(1, 5*time.Minute)),
		},
		"one whose failures take up half of the surge stays": {
			failing: []warmth.Failure{final, final}, ran: 2, waiting: 4, surge: 4, standing: standingLast, next: because("NotFound", retry(1, 5*time.Minute)),
		},
		"out until its time": {waiting: 5, unlisted: true, retry: retry(1, time.Minute), standing: standingOut, next: retry(1, time.Minute)},
		"due from its time on": {
			waiting: 5, unlisted: true, retry: retry(1, 0), standing: standingDue, next: retry(1, 0),
		},
		"its old pods do not bring it back before its time": {
			ran: 5, waiting: 6, unlisted: true, retry: retry(1, time.Minute), standing: standingOut, next: retry(1, time.Minute),
		},
		"old failures are not counted twice": {
			failing: []warmth.Failure{old}, waiting: 1, retry: retry(1, -time.Minute), standing: standingDue, next: retry(1, -time.Minute),
		},
		"a new failure after its time doubles the back-off": {
			failing: []warmth.Failure{final}, waiting: 1, retry: retry(1, -time.Minute), standing: standingOut, next: because("NotFound", retry(2, 10*time.Minute)),
		},
		"a failure before its time changes nothing": {
			failing: []warmth.Failure{final}, waiting: 1, retry: retry(1, time.Minute), standing: standingOut, next: retry(1, time.Minute),
		},
		"it is forgiven when all have it": {ran: 5, waiting: 5, retry: retry(3, -time.Hour), standing: standingGood},
		"it is forgiven after its time when half of the nodes have it": {
			failing: []warmth.Failure{old}, ran: 4, waiting: 8, retry: retry(3, -time.Hour), standing: standingGood,
		},
		"it is not forgiven while less than half have it": {
			ran: 3, waiting: 8, retry: retry(3, -time.Hour), standing: standingDue, next: retry(3, -time.Hour),
		},
		"before its time it is not forgiven while one has not": {
			ran: 4, waiting: 5, retry: retry(3, time.Hour), standing: standingLast, next: retry(3, time.Hour),
		},
		"a known failure that half of the nodes bear needs no turn": {
			failing: []warmth.Failure{old}, ran: 1, waiting: 2, retry: retry(1, -time.Minute), standing: standingLast, next: retry(1, -time.Minute),
		},
		"an empty class forgives nothing": {waiting: 0, retry: retry(3, -time.Hour), standing: standingDue, next: retry(3, -time.Hour)},
		"what stayed at the end stays there": {
			failing: []warmth.Failure{final}, ran: 4, waiting: 5, retry: retry(1, time.Minute), standing: standingLast, next: retry(1, time.Minute),
		},
		"what stayed at the end leaves when more fail": {
			failing: []warmth.Failure{final, final, final}, ran: 2, waiting: 5, retry: retry(1, time.Minute), standing: standingOut, next: retry(1, time.Minute),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := &warmth.Image{At: map[string]int{}, Pulling: map[string]bool{}, Failed: map[string]warmth.Failure{}}
			for i := range tc.ran + tc.present {
				w.At[fmt.Sprint("node-", i)] = i
			}
			for i := range tc.ran {
				w.SetRan(w.At[fmt.Sprint("node-", i)], time.Second)
			}
			for i := range tc.present {
				w.SetPresent(tc.ran + i)
			}
			for i := range tc.pulling {
				w.Pulling[fmt.Sprint("pulling-", i)] = true
			}
			for i, f := range tc.failing {
				f.Rolls = !tc.firstList
				w.Failed[fmt.Sprint("failed-", i)] = f
			}
			surge := tc.surge
			if surge == 0 {
				surge = 10
			}
			got := trial{"c", tc.waiting, surge, prepulltest.Noon}.judge(&ClassImage{Warmth: w, listed: !tc.unlisted}, tc.retry)
			if got.standing != tc.standing {
				t.Errorf("standing %d, want %d", got.standing, tc.standing)
			}
			if want := got.retry != nil && got.retry != tc.retry; got.found != want {
				t.Errorf("found to fail %v, want %v", got.found, want)
			}
			if diff := cmp.Diff(tc.next, got.retry); diff != "" {
				t.Errorf("retry (-want +got):\n%s", diff)
			}
		})
	}
}

func TestANodeThatRanAnImageAndFailsOnItNowFails(t *testing.T) {
	t.Parallel()
	w := &warmth.Image{At: map[string]int{"a": 0}, Failed: map[string]warmth.Failure{"a": {Cause: warmth.CauseDenied, Settled: true}}}
	w.SetRan(w.At["a"], time.Second)
	if got := (trial{"c", 1, 10, prepulltest.Noon}).judge(&ClassImage{Warmth: w, listed: true}, nil); got.standing != standingOut {
		t.Errorf("standing %d", got.standing)
	}
}

func TestImagesThatAreDueTakeTurns(t *testing.T) {
	t.Parallel()
	at := func(minute int) *v1alpha1.Retry {
		return &v1alpha1.Retry{Failures: 1, Time: metav1.NewTime(prepulltest.Noon.Add(time.Duration(minute) * time.Minute))}
	}
	due := func(minute int) verdict { return verdict{standing: standingDue, retry: at(minute)} }
	declared := &Candidate{Name: "declared", declared: true}
	a, b, c := &Candidate{Name: "a"}, &Candidate{Name: "b"}, &Candidate{Name: "c"}
	for name, tc := range map[string]struct {
		verdicts map[*Candidate]verdict
		turn     []*Candidate
	}{
		"nothing is due":                          {map[*Candidate]verdict{a: {}, b: {standing: standingOut, retry: at(1)}}, nil},
		"the one that waits longest":              {map[*Candidate]verdict{a: due(3), b: due(1), c: due(2)}, []*Candidate{b}},
		"those that became due together":          {map[*Candidate]verdict{a: due(1), b: due(2), c: due(1)}, []*Candidate{a, c}},
		"a declared one goes before all":          {map[*Candidate]verdict{a: due(1), declared: due(2)}, []*Candidate{declared}},
		"one that stays last takes nobody's turn": {map[*Candidate]verdict{a: {standing: standingLast, retry: at(0)}, b: due(1)}, []*Candidate{a, b}},
	} {
		var rows []*ClassImage
		for image, v := range tc.verdicts {
			rows = append(rows, &ClassImage{Candidate: image, verdict: v})
		}
		pickRetries(rows, budget{50, unbounded})
		for _, row := range rows {
			if want := slices.Contains(tc.turn, row.Candidate); row.standing == standingDue || want != (row.standing == standingLast) {
				t.Errorf("%s: %s has standing %d, its turn %v", name, row.Name, row.standing, want)
			}
		}
	}
}

func TestAMendedRegistryGivesAllItsImagesATurn(t *testing.T) {
	t.Parallel()
	s := State{Nodes: prepulltest.Nodes(3)}
	for i, image := range []string{"r.test/a:1", "r.test/b:1", "r.test/c:1", "other.test/d:1"} {
		o := prepulltest.Learned(image, 1)
		o.Status.Retries = []v1alpha1.Retry{{NodeClass: "linux-amd64", Failures: 3, Time: metav1.NewTime(prepulltest.Noon.Add(time.Duration(i) * time.Hour))}}
		s.Images = append(s.Images, o)
	}
	s.carryOut(Make(s, testOptions, prepulltest.Noon))
	if diff := cmp.Diff([]string{"r.test/a:1"}, s.listOf("linux-amd64")); diff != "" {
		t.Fatalf("first try (-want +got):\n%s", diff)
	}
	s.runPods(prepulltest.Noon.Add(time.Second), nothingFails)
	p := Make(s, testOptions, prepulltest.Noon.Add(time.Minute))
	s.carryOut(p)
	list := s.listOf("linux-amd64")
	slices.Sort(list)
	if diff := cmp.Diff([]string{"r.test/a:1", "r.test/b:1", "r.test/c:1"}, list); diff != "" {
		t.Errorf("after it works (-want +got):\n%s", diff)
	}
	if len(p.Quarantined) > 0 || len(s.status(workload.ObjectName("r.test/a:1")).Retries) > 0 {
		t.Errorf("quarantined %v, status %+v", p.Quarantined, s.status(workload.ObjectName("r.test/a:1")))
	}
	// The failures are kept: what fails again now waits longer than before.
	if got := s.status(workload.ObjectName("r.test/b:1")).Retries; len(got) != 1 || got[0].Failures != 3 || !got[0].Time.Time.Equal(prepulltest.Noon) {
		t.Errorf("retries %+v", got)
	}
}

func TestBackOff(t *testing.T) {
	t.Parallel()
	for failures, want := range map[int32]time.Duration{
		0: 5 * time.Minute, 1: 5 * time.Minute, 2: 10 * time.Minute, 3: 20 * time.Minute,
		7: 320 * time.Minute, 8: 6 * time.Hour, 1 << 30: 6 * time.Hour,
	} {
		if got := backOff(&v1alpha1.Retry{Failures: failures, Reason: "NotFound"}); got != want {
			t.Errorf("after %d failures %v, want %v", failures, got, want)
		}
	}
	for failures, want := range map[int32]time.Duration{1: time.Minute, 2: 2 * time.Minute, 3: 4 * time.Minute, 10: 6 * time.Hour} {
		if got := backOff(&v1alpha1.Retry{Failures: failures, Reason: "RateLimited"}); got != want {
			t.Errorf("after %d rate limits %v, want %v", failures, got, want)
		}
	}
}

// dueImage failed once, and is to be tried again since a time.
func dueImage(namespace, image string, starts int, since time.Time) v1alpha1.PrepullImage {
	o := prepulltest.Learned(image, starts)
	o.Status.Users, o.Status.UserCount = []v1alpha1.User{{Kind: "Deployment", Namespace: namespace, Name: image}}, 1
	if !since.IsZero() {
		o.Status.Retries = []v1alpha1.Retry{{NodeClass: "linux-amd64", Failures: 1, Time: metav1.NewTime(since)}}
	}
	return o
}

func TestAnImageWithoutAPlaceTakesNobodysTurn(t *testing.T) {
	t.Parallel()
	o := testOptions
	o.MaxImagesPerNode = 2
	never := time.Time{}
	s := State{Nodes: prepulltest.Nodes(2), Images: []v1alpha1.PrepullImage{
		dueImage("a", "a0:1", 9, never), dueImage("a", "a1:1", 8, never), dueImage("a", "a2:1", 7, never),
		dueImage("a", "a-fails:1", 1, prepulltest.Noon.Add(-time.Minute)), dueImage("b", "b-fails:1", 1, prepulltest.Noon),
	}}
	s.carryOut(Make(s, o, prepulltest.Noon))
	if diff := cmp.Diff([]string{"a0:1", "b-fails:1"}, s.listOf("linux-amd64")); diff != "" {
		t.Errorf("listed (-want +got):\n%s", diff)
	}
}

// One hiccup of a registry does not take an image out for good, although others took its place.
func TestAnImageThatFailedOnceComesBackIntoAFullList(t *testing.T) {
	t.Parallel()
	o := testOptions
	o.MaxImagesPerNode = 1
	s := State{Nodes: prepulltest.Nodes(2), Images: []v1alpha1.PrepullImage{
		dueImage("a", "worth:1", 9, prepulltest.Noon), dueImage("a", "lesser:1", 1, time.Time{}),
	}}
	s.carryOut(Make(s, o, prepulltest.Noon.Add(-time.Second)))
	if diff := cmp.Diff([]string{"lesser:1"}, s.listOf("linux-amd64")); diff != "" {
		t.Errorf("before its time (-want +got):\n%s", diff)
	}
	s.runPods(prepulltest.Noon, none)
	s.carryOut(Make(s, o, prepulltest.Noon))
	if diff := cmp.Diff([]string{"worth:1"}, s.listOf("linux-amd64")); diff != "" {
		t.Errorf("when it is due (-want +got):\n%s", diff)
	}
	s.runPods(prepulltest.Noon.Add(time.Second), isWorthless)
	s.carryOut(Make(s, o, prepulltest.Noon.Add(time.Minute)))
	if diff := cmp.Diff([]string{"lesser:1"}, s.listOf("linux-amd64")); diff != "" {
		t.Errorf("when it fails again (-want +got):\n%s", diff)
	}
}

func isWorthless(_, image string) string {
	if image == "worth:1" {
		return "not found"
	}
	return ""
}

// A tenant with many broken images does not make another one wait for all of them.
func TestNamespacesTakeTurns(t *testing.T) {
	t.Parallel()
	s := State{Nodes: prepulltest.Nodes(2)}
	for i := range 20 {
		s.Images = append(s.Images, dueImage("a", fmt.Sprintf("bad-%02d:1", i), 1, prepulltest.Noon.Add(time.Duration(i)*time.Second)))
	}
	s.Images = append(s.Images, dueImage("b", "b:1", 1, prepulltest.Noon.Add(time.Minute)))
	now := prepulltest.Noon.Add(2 * time.Minute)
	for turn := range 3 {
		s.carryOut(Make(s, testOptions, now))
		if list := s.listOf("linux-amd64"); slices.Contains(list, "b:1") {
			return
		}
		t.Logf("turn %d: %v", turn, s.listOf("linux-amd64"))
		s.runPods(now, isBad)
		s.carryOut(Make(s, testOptions, now.Add(time.Second)))
		now = now.Add(time.Minute)
	}
	t.Error("b waits for all images of a")
}
