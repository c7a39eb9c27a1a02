package plan

import (
	"cmp"
	"slices"
)

// reasons are why the lists of a class are written. Several may come together; where nothing is written there are none.
type reasons struct {
	// Ordinary is set if an image comes or goes that does not fail, or the rest of a DaemonSet differs.
	Ordinary bool

	// failing is set if images leave, move or come back that fail.
	failing bool

	// urgent is set if good images are held up behind one that fails.
	urgent bool
}

func (r *reasons) add(other reasons) {
	r.Ordinary = r.Ordinary || other.Ordinary
	r.failing = r.failing || other.failing
	r.urgent = r.urgent || other.urgent
}

// reasons are why a lane gets another list than its current one. Images that only take the places of failing ones in a
// full list are no ordinary change: they may fail too, one after the other.
func (cp *ClassPlan) reasons(l *lane) reasons {
	known, failing := map[string]*Candidate{}, map[string]bool{}
	for _, image := range cp.Images {
		if image.listed {
			known[image.Name], failing[image.Name] = image.Candidate, image.retry != nil
		}
	}
	for _, e := range l.list {
		failing[e.Name] = cp.of[e.Candidate].retry != nil
	}
	var was, is []string
	for _, container := range l.current {
		was = append(was, container.Name)
	}
	for _, e := range l.list {
		is = append(is, e.Name)
	}
	var why reasons
	for _, name := range was {
		if !slices.Contains(is, name) {
			why.failing = why.failing || failing[name]
			why.Ordinary = why.Ordinary || !failing[name]
		}
	}
	used, counted := cp.used(known)
	for _, e := range l.list {
		if !slices.Contains(was, e.Name) {
			why.failing = why.failing || failing[e.Name]
			why.Ordinary = why.Ordinary || !failing[e.Name] && (counted[e.Name] || cp.budget.fits(used, e.Candidate))
		}
	}
	if !why.Ordinary && !why.failing {
		// Only an image that fails moves within the same set.
		why.failing = !slices.Equal(was, is)
		why.Ordinary = !why.failing
	}
	// What is held is in nobody's way.
	brought := was[heldOf(l.current):]
	if first := slices.IndexFunc(brought, func(name string) bool { return failing[name] }); first >= 0 {
		why.urgent = slices.ContainsFunc(brought[first:], func(name string) bool { return !failing[name] })
	}
	return why
}

// used is what the current lists take of the budget of a class, and counted the images in them.
func (cp *ClassPlan) used(known map[string]*Candidate) (used budget, counted map[string]bool) {
	counted = map[string]bool{}
	for _, l := range cp.lanes {
		for _, container := range l.current {
			if !counted[container.Name] {
				counted[container.Name] = true
				used = used.plus(cmp.Or(known[container.Name], &Candidate{}))
			}
		}
	}
	return used, counted
}
