package prepull

import "time"

const (
	// quietTime is how long a plan must stay the same before it is carried out.
	quietTime = 2 * time.Second

	// maxWait is how long a plan that keeps changing waits. Together with what comes before it, a new image is in a
	// DaemonSet within 10 seconds.
	maxWait = 8 * time.Second

	// urgentGap is the time between two changes if an image is found to fail: every node with it stands still.
	urgentGap = time.Second
)

// debounce turns a burst of changes into few: each one restarts a pod on every node of a class. The zero value is ready.
type debounce struct {
	// plan is the fingerprint of what is to be written, empty if nothing is.
	plan string

	// first is when something was to be written for the first time, last when it became the present plan, and written
	// when something was written.
	first, last, written time.Time
}

// wait is how long a plan has to wait still: 0 if it may be carried out, or if there is nothing in it. A plan goes
// after 2 quiet seconds, after 8 seconds at most, and not sooner than 8 seconds after the last one.
func (d *debounce) wait(plan string, urgent bool, now time.Time) time.Duration {
	if plan == "" {
		d.plan = ""
		return 0
	}
	if d.plan == "" {
		d.first = now
	}
	if d.plan != plan {
		d.plan, d.last = plan, now
	}
	if urgent {
		return max(0, d.written.Add(urgentGap).Sub(now))
	}
	due := d.last.Add(quietTime)
	if late := d.first.Add(maxWait); late.Before(due) {
		due = late
	}
	if soonest := d.written.Add(maxWait); soonest.After(due) {
		due = soonest
	}
	return max(0, due.Sub(now))
}

// done notes that the plan was carried out.
func (d *debounce) done(now time.Time) {
	d.plan, d.written = "", now
}
