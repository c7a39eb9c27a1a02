package plan

import "time"

// lookAgainBy makes sure that somebody looks again at a time, unless it is zero.
func (p *Plan) lookAgainBy(t time.Time) { p.Next = sooner(p.Next, t) }

func (cp *ClassPlan) lookAgainBy(t time.Time) { cp.next = sooner(cp.next, t) }

// sooner of two times, of which a zero one does not count.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
