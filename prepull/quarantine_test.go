package prepull

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

func TestJudge(t *testing.T) {
	t.Parallel()
	final := failure{cause: causeNotFound, settled: true, since: noon.Add(-time.Minute)}
	first := failure{cause: causeUnreachable, since: noon.Add(-time.Minute)}
	settled := failure{cause: causeUnreachable, settled: true, since: noon.Add(-time.Minute)}
	old := failure{cause: causeNotFound, settled: true, since: noon.Add(-10 * time.Minute)}
	retry := func(failures int32, in time.Duration) *v1alpha1.Retry {
		return &v1alpha1.Retry{NodeClass: "c", Failures: failures, Time: metav1.NewTime(noon.Add(in))}
	}
	for name, tc := range map[string]struct {
		failing      []failure
		ran, pulling int
		waiting      int
		unlisted     bool
		surge        int
		retry        *v1alpha1.Retry
		standing     standing
		next         *v1alpha1.Retry
	}{
		"nothing fails": {ran: 3, waiting: 5, standing: standingGood},
		"a final answer from any node counts at once": {
			failing: []failure{final}, pulling: 100, waiting: 101, standing: standingOut, next: retry(1, 5*time.Minute),
		},
		"the first failure of another kind does not count yet": {
			failing: []failure{first}, waiting: 1, standing: standingGood,
		},
		"it counts when the kubelet backs off": {
			failing: []failure{settled}, waiting: 1, standing: standingOut, next: retry(1, 5*time.Minute),
		},
		"one node among many is to blame itself": {
			failing: []failure{settled}, ran: 1, pulling: 1, waiting: 500, standing: standingGood,
		},
		"one node that has it and one that fails blame the image, which stays at the end": {
			failing: []failure{settled}, ran: 1, waiting: 2, standing: standingLast, next: retry(1, 5*time.Minute),
		},
		"an image that most nodes have stays at the end, protected": {
			failing: []failure{final}, ran: 4, waiting: 5, standing: standingLast, next: retry(1, 5*time.Minute),
		},
		"an image that most nodes do not have leaves": {
			failing: []failure{final, final, final}, ran: 2, waiting: 5, standing: standingOut, next: retry(1, 5*time.Minute),
		},
		"an image whose failures take up the surge leaves": {
			failing: []failure{final, final, final}, ran: 9, waiting: 12, surge: 5, standing: standingOut, next: retry(1, 5*time.Minute),
		},
		"out until its time": {waiting: 5, unlisted: true, retry: retry(1, time.Minute), standing: standingOut, next: retry(1, time.Minute)},
		"last from its time on": {
			waiting: 5, unlisted: true, retry: retry(1, 0), standing: standingLast, next: retry(1, 0),
		},
		"its old pods do not bring it back before its time": {
			ran: 5, waiting: 6, unlisted: true, retry: retry(1, time.Minute), standing: standingOut, next: retry(1, time.Minute),
		},
		"old failures are not counted twice": {
			failing: []failure{old}, waiting: 1, retry: retry(1, -time.Minute), standing: standingLast, next: retry(1, -time.Minute),
		},
		"a new failure after its time doubles the back-off": {
			failing: []failure{final}, waiting: 1, retry: retry(1, -time.Minute), standing: standingOut, next: retry(2, 10*time.Minute),
		},
		"a failure before its time changes nothing": {
			failing: []failure{final}, waiting: 1, retry: retry(1, time.Minute), standing: standingOut, next: retry(1, time.Minute),
		},
		"it is forgiven when all have it": {ran: 5, waiting: 5, retry: retry(3, -time.Hour), standing: standingGood},
		"it is not forgiven while one has not": {
			ran: 4, waiting: 5, retry: retry(3, -time.Hour), standing: standingLast, next: retry(3, -time.Hour),
		},
		"an empty class forgives nothing": {waiting: 0, retry: retry(3, -time.Hour), standing: standingLast, next: retry(3, -time.Hour)},
		"what stayed at the end stays there": {
			failing: []failure{final}, ran: 4, waiting: 5, retry: retry(1, time.Minute), standing: standingLast, next: retry(1, time.Minute),
		},
		"what stayed at the end leaves when more fail": {
			failing: []failure{final, final, final}, ran: 2, waiting: 5, retry: retry(1, time.Minute), standing: standingOut, next: retry(1, time.Minute),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := &imageWarmth{ran: map[string]time.Duration{}, pulling: map[string]bool{}, failed: map[string]failure{}}
			for i := range tc.ran {
				w.ran[fmt.Sprint("ran-", i)] = time.Second
			}
			for i := range tc.pulling {
				w.pulling[fmt.Sprint("pulling-", i)] = true
			}
			for i, f := range tc.failing {
				w.failed[fmt.Sprint("failed-", i)] = f
			}
			surge := tc.surge
			if surge == 0 {
				surge = 10
			}
			got := judge("c", trial{image: w, waiting: tc.waiting, listed: !tc.unlisted, surge: surge, retry: tc.retry}, noon)
			if got.standing != tc.standing {
				t.Errorf("standing %d, want %d", got.standing, tc.standing)
			}
			if diff := cmp.Diff(tc.next, got.retry); diff != "" {
				t.Errorf("retry (-want +got):\n%s", diff)
			}
		})
	}
}

func TestANodeThatRanAnImageAndFailsOnItNowFails(t *testing.T) {
	t.Parallel()
	w := &imageWarmth{ran: map[string]time.Duration{"a": time.Second}, failed: map[string]failure{"a": {cause: causeDenied, settled: true}}}
	if got := judge("c", trial{image: w, waiting: 1, listed: true, surge: 10}, noon); got.standing != standingOut {
		t.Errorf("standing %d", got.standing)
	}
}

func TestBackOff(t *testing.T) {
	t.Parallel()
	for failures, want := range map[int32]time.Duration{
		0: 5 * time.Minute, 1: 5 * time.Minute, 2: 10 * time.Minute, 3: 20 * time.Minute,
		7: 320 * time.Minute, 8: 6 * time.Hour, 1 << 30: 6 * time.Hour,
	} {
		if got := backOff(failures); got != want {
			t.Errorf("backOff(%d) = %v, want %v", failures, got, want)
		}
	}
}
