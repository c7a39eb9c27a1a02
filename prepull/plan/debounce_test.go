package plan

import (
	"testing"
	"time"

	"github.com/kube-prepull/kube-prepull/api/clock"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
)

func TestDebounce(t *testing.T) {
	t.Parallel()
	type step struct {
		at   time.Duration
		why  reasons
		wait time.Duration
	}
	const s = time.Second
	none, ordinary := reasons{}, reasons{Ordinary: true}
	failing, urgent := reasons{failing: true}, reasons{failing: true, urgent: true}
	both := reasons{Ordinary: true, failing: true, urgent: true}
	for name, steps := range map[string][]step{
		"a plan goes after two seconds":              {{0, ordinary, 2 * s}, {1 * s, ordinary, 1 * s}, {2 * s, ordinary, 0}},
		"nothing to write never waits":               {{0, none, 0}, {1 * s, none, 0}},
		"a plan that went away is forgotten":         {{0, ordinary, 2 * s}, {1 * s, none, 0}, {9 * s, ordinary, 2 * s}},
		"a failing image goes at once":               {{0, urgent, 0}},
		"what waited goes with the failing image":    {{0, ordinary, 2 * s}, {s / 2, urgent, 0}},
		"two changes are at least 8 seconds apart":   {{0, ordinary, 2 * s}, {2 * s, ordinary, 0}, {3 * s, ordinary, 7 * s}, {10 * s, ordinary, 0}},
		"a change in between waits for both":         {{0, urgent, 0}, {7 * s, ordinary, 2 * s}, {8 * s, ordinary, 1 * s}, {9 * s, ordinary, 0}},
		"two failures are at least a second apart":   {{0, urgent, 0}, {s / 4, urgent, 3 * s / 4}, {s, urgent, 0}},
		"a change after a failure waits its time":    {{0, urgent, 0}, {1 * s, ordinary, 7 * s}},
		"an image that fails and holds up nothing":   {{0, failing, 2 * s}, {2 * s, failing, 0}, {3 * s, failing, 15 * s}, {18 * s, failing, 0}, {19 * s, failing, 31 * s}},
		"a new image takes what fails along":         {{0, failing, 2 * s}, {2 * s, failing, 0}, {10 * s, failing, 8 * s}, {11 * s, both, 0}},
		"a new image that comes while others fail":   {{0, failing, 2 * s}, {2 * s, failing, 0}, {12 * s, ordinary, 2 * s}, {14 * s, ordinary, 0}},
		"after a calm time the gap is short again":   {{0, urgent, 0}, {1 * s, urgent, 0}, {66 * s, failing, 2 * s}, {68 * s, failing, 0}, {69 * s, failing, 15 * s}},
		"five are urgent in a row and not the sixth": {{0, urgent, 0}, {s, urgent, 0}, {2 * s, urgent, 0}, {3 * s, urgent, 0}, {4 * s, urgent, 0}, {5 * s, urgent, 115 * s}, {120 * s, urgent, 0}, {121 * s, urgent, 119 * s}},
		"after a long rest it is two seconds":        {{0, urgent, 0}, {60 * s, ordinary, 2 * s}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := Debounce{Clocks: clock.Production()}
			for i, step := range steps {
				now := prepulltest.Noon.Add(step.at)
				wait := d.Wait(step.why, nil, now)
				if wait != step.wait {
					t.Fatalf("step %d: wait %v, want %v", i, wait, step.wait)
				}
				if wait == 0 && step.why != none {
					d.Done(now)
				}
			}
		})
	}
}

func TestFailuresThatKeepComingAreFewRevisions(t *testing.T) {
	t.Parallel()
	for _, why := range []reasons{{failing: true}, {failing: true, urgent: true}} {
		d := Debounce{Clocks: clock.Production()}
		written := 0
		for now := prepulltest.Noon; now.Before(prepulltest.Noon.Add(time.Hour)); now = now.Add(time.Second) {
			if d.Wait(why, nil, now) == 0 {
				d.Done(now)
				written++
			}
		}
		if written < 5 || written > 40 {
			t.Errorf("%+v: %d revisions in an hour", why, written)
		}
		if gap := d.failingGap(prepulltest.Noon.Add(time.Hour)); gap > d.Clocks.MaxGap {
			t.Errorf("%+v: the gap is %v", why, gap)
		}
	}
}

// A thousand images come one after the other, and each makes the reconciler look.
func TestABurstOfAThousandImagesIsFewRevisions(t *testing.T) {
	t.Parallel()
	const every = 60 * time.Millisecond
	d := Debounce{Clocks: clock.Production()}
	var written []time.Time
	for i := range 1000 {
		now := prepulltest.Noon.Add(time.Duration(i) * every)
		if d.Wait(reasons{Ordinary: true}, nil, now) == 0 {
			d.Done(now)
			written = append(written, now)
		}
	}
	if len(written) == 0 || len(written) > 8 {
		t.Fatalf("%d revisions in a minute", len(written))
	}
	waitingSince, longest := prepulltest.Noon, d.Clocks.GatherTime
	for _, at := range written {
		if waited := at.Sub(waitingSince); waited > longest+every {
			t.Errorf("an image waited %v", waited)
		}
		waitingSince, longest = at.Add(every), d.Clocks.MinGap
	}
}
