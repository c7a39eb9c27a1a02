package prepull

import "time"

const (
	// gatherTime is from the first change of a plan until it is carried out.
	gatherTime = 2 * time.Second

	// minGap is the time between two changes. Together with what comes before it, a new image is in a DaemonSet within 10
	// seconds.
	minGap = 8 * time.Second

	// urgentGap is the time between two changes if an image is found to fail: every node with it stands still.
	urgentGap = time.Second
)

// debounce turns a burst of changes into few: each one restarts a pod on every node of a class. The zero value is ready.
type debounce struct {
	// pending is set while there is something to write, and first is since when.
	pending bool
	first   time.Time

	// written is when something was written last.
	written time.Time
}

// wait is how long a plan has to wait still: 0 if it may be carried out, or if it writes nothing. A plan goes 2 seconds
// after the first change, with all that came in the meantime, and not sooner than 8 seconds after the last one: the first
// images of a burst do not wait for its end, and the rest of it makes few revisions.
func (d *debounce) wait(writes, urgent bool, now time.Time) time.Duration {
	if writes && !d.pending {
		d.first = now
	}
	d.pending = writes
	if !writes {
		return 0
	}
	due := d.written.Add(urgentGap)
	if !urgent {
		due = d.written.Add(minGap)
		if gathered := d.first.Add(gatherTime); gathered.After(due) {
			due = gathered
		}
	}
	return max(0, due.Sub(now))
}

// done notes that the plan was carried out.
func (d *debounce) done(now time.Time) {
	d.pending, d.written = false, now
}
