package plan

import (
	"time"

	"github.com/kube-prepull/kube-prepull/api/clock"
)

// urgentBurst is how many changes may be urgent in a row.
const urgentBurst = 5

// Debounce turns a burst of changes of a class into few: each one restarts a pod on every node of it. It is ready when it has clocks.
type Debounce struct {
	Clocks clock.Clocks

	// pending is why a change waits, and first is since when.
	pending reasons
	first   time.Time

	// written is when something was written last.
	written time.Time

	// failed is when a change with images that fail was written last, and gap is from then to the next one.
	failed time.Time
	gap    time.Duration

	// refilled is when all urgent changes that were made are free again.
	refilled time.Time

	joins joins
}

// Wait is how long a change has to wait still: 0 if it may be carried out, or if there is none. A change goes 2 seconds
// after it was first seen, with all that came in the meantime, and not sooner than 8 seconds after the last one: the first
// images of a burst do not wait for its end, and the rest of it makes few revisions. It takes along what waits because
// images fail; that alone waits longer, the more so the more images fail, unless it is urgent and the burst is not used up.
// joining are the nodes of the class that join, by name: a change waits for the pulls that it would start anew.
func (d *Debounce) Wait(why reasons, joining map[string]Joining, now time.Time) time.Duration {
	d.joins.see(joining, d.Clocks.JoinGap, now)
	if why.Ordinary != d.pending.Ordinary || d.pending == (reasons{}) {
		d.first = now
	}
	d.pending = why
	if why == (reasons{}) {
		return 0
	}
	due := d.written.Add(d.Clocks.MinGap)
	if !why.Ordinary {
		due = d.written.Add(d.failingGap(now))
	}
	due = latest(latest(due, d.first.Add(d.Clocks.GatherTime)), d.joins.due(d.first, d.Clocks.GatherTime, now))
	if urgent := latest(d.written.Add(d.Clocks.UrgentGap), d.urgentFrom()); why.urgent && urgent.Before(due) {
		due = urgent
	}
	return max(0, due.Sub(now))
}

// Done notes that the pending change was carried out.
func (d *Debounce) Done(now time.Time) {
	if d.pending.failing || d.pending.urgent {
		d.gap = min(2*d.failingGap(now), d.Clocks.MaxGap)
		d.failed = now
	}
	if d.pending.urgent && !now.Before(d.urgentFrom()) {
		d.refilled = latest(d.refilled, now).Add(d.Clocks.UrgentRefill)
	}
	d.pending, d.written = reasons{}, now
	d.joins.written(d.Clocks.GatherTime, d.Clocks.MaxGap, now)
}

// failingGap is the time between two changes because of images that fail: the shortest one again after a calm time.
func (d *Debounce) failingGap(now time.Time) time.Duration {
	if now.Sub(d.failed) > 2*d.gap {
		return d.Clocks.MinGap
	}
	return max(d.Clocks.MinGap, d.gap)
}

// urgentFrom is when the next change may be urgent.
func (d *Debounce) urgentFrom() time.Time {
	return d.refilled.Add(-(urgentBurst - 1) * d.Clocks.UrgentRefill)
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
