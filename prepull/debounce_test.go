package prepull

import (
	"fmt"
	"testing"
	"time"
)

func TestDebounce(t *testing.T) {
	t.Parallel()
	type step struct {
		at     time.Duration
		plan   string
		urgent bool
		wait   time.Duration
	}
	const s = time.Second
	for name, steps := range map[string][]step{
		"a plan goes after two quiet seconds":       {{0, "a", false, 2 * s}, {1 * s, "a", false, 1 * s}, {2 * s, "a", false, 0}},
		"a change starts the quiet time anew":       {{0, "a", false, 2 * s}, {1 * s, "b", false, 2 * s}, {3 * s, "b", false, 0}},
		"changes for ever do not hold it up":        {{0, "a", false, 2 * s}, {7 * s, "b", false, 1 * s}, {8 * s, "c", false, 0}},
		"nothing to write never waits":              {{0, "", false, 0}, {1 * s, "", true, 0}},
		"a plan that went away is forgotten":        {{0, "a", false, 2 * s}, {1 * s, "", false, 0}, {9 * s, "b", false, 2 * s}},
		"a failing image goes at once":              {{0, "a", true, 0}},
		"what waited goes with the failing image":   {{0, "a", false, 2 * s}, {s / 2, "b", true, 0}},
		"two changes are at least 8 seconds apart":  {{0, "a", false, 2 * s}, {2 * s, "a", false, 0}, {3 * s, "b", false, 7 * s}, {10 * s, "b", false, 0}},
		"two failures are at least a second apart":  {{0, "a", true, 0}, {s / 4, "b", true, 3 * s / 4}, {s, "b", true, 0}},
		"a change after a failure waits its time":   {{0, "a", true, 0}, {1 * s, "b", false, 7 * s}},
		"after a long rest two quiet seconds count": {{0, "a", true, 0}, {60 * s, "b", false, 2 * s}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var d debounce
			for i, step := range steps {
				now := noon.Add(step.at)
				wait := d.wait(step.plan, step.urgent, now)
				if wait != step.wait {
					t.Fatalf("step %d: wait %v, want %v", i, wait, step.wait)
				}
				if wait == 0 && step.plan != "" {
					d.done(now)
				}
			}
		})
	}
}

func TestABurstOfAThousandImagesIsFewRevisions(t *testing.T) {
	t.Parallel()
	var d debounce
	revisions := 0
	var longest time.Duration
	waitingSince := noon
	for i := range 1000 {
		now := noon.Add(time.Duration(i) * 60 * time.Millisecond)
		if d.wait(fmt.Sprint("plan ", i), false, now) == 0 {
			d.done(now)
			revisions++
			longest = max(longest, now.Sub(waitingSince))
			waitingSince = now
		}
	}
	if revisions == 0 || revisions > 10 {
		t.Errorf("%d revisions in a minute", revisions)
	}
	if longest > 9*time.Second {
		t.Errorf("an image waited %v", longest)
	}
}
