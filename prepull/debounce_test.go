package prepull

import (
	"testing"
	"time"
)

func TestDebounce(t *testing.T) {
	t.Parallel()
	type step struct {
		at     time.Duration
		writes bool
		urgent bool
		wait   time.Duration
	}
	const s = time.Second
	for name, steps := range map[string][]step{
		"a plan goes after two seconds":            {{0, true, false, 2 * s}, {1 * s, true, false, 1 * s}, {2 * s, true, false, 0}},
		"nothing to write never waits":             {{0, false, false, 0}, {1 * s, false, true, 0}},
		"a plan that went away is forgotten":       {{0, true, false, 2 * s}, {1 * s, false, false, 0}, {9 * s, true, false, 2 * s}},
		"a failing image goes at once":             {{0, true, true, 0}},
		"what waited goes with the failing image":  {{0, true, false, 2 * s}, {s / 2, true, true, 0}},
		"two changes are at least 8 seconds apart": {{0, true, false, 2 * s}, {2 * s, true, false, 0}, {3 * s, true, false, 7 * s}, {10 * s, true, false, 0}},
		"a change in between waits for both":       {{0, true, true, 0}, {7 * s, true, false, 2 * s}, {8 * s, true, false, 1 * s}, {9 * s, true, false, 0}},
		"two failures are at least a second apart": {{0, true, true, 0}, {s / 4, true, true, 3 * s / 4}, {s, true, true, 0}},
		"a change after a failure waits its time":  {{0, true, true, 0}, {1 * s, true, false, 7 * s}},
		"after a long rest it is two seconds":      {{0, true, true, 0}, {60 * s, true, false, 2 * s}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var d debounce
			for i, step := range steps {
				now := noon.Add(step.at)
				wait := d.wait(step.writes, step.urgent, now)
				if wait != step.wait {
					t.Fatalf("step %d: wait %v, want %v", i, wait, step.wait)
				}
				if wait == 0 && step.writes {
					d.done(now)
				}
			}
		})
	}
}

// A thousand images come one after the other, and each makes the reconciler look.
func TestABurstOfAThousandImagesIsFewRevisions(t *testing.T) {
	t.Parallel()
	const every = 60 * time.Millisecond
	var d debounce
	var written []time.Time
	for i := range 1000 {
		now := noon.Add(time.Duration(i) * every)
		if d.wait(true, false, now) == 0 {
			d.done(now)
			written = append(written, now)
		}
	}
	if len(written) == 0 || len(written) > 8 {
		t.Fatalf("%d revisions in a minute", len(written))
	}
	waitingSince, longest := noon, gatherTime
	for _, at := range written {
		if waited := at.Sub(waitingSince); waited > longest+every {
			t.Errorf("an image waited %v", waited)
		}
		waitingSince, longest = at.Add(every), minGap
	}
}
