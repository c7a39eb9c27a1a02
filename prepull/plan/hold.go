package plan

import "slices"

// A list is divided in two. What an init container brings is new to some node, always pulled, or tried again; what an image
// volume holds is proven, costs a node next to nothing when the list changes, and keeps nothing else from a node that cannot
// pull it. An image never goes from one to the other by a roll of its own: while nothing else changes, each stays as it is
// (keep), and with another change of the list all are divided anew.
//
// keep is set while nothing but the division could change. able is set if the nodes of the class can mount image volumes:
// if they no longer can, all is brought again.
type division struct{ keep, able bool }

// standingOf an image in the list. One that is held is in nobody's way, so it does not leave for its failures alone.
func (d division) standingOf(i *ClassImage) standing {
	if i.held && d.able && d.keep {
		return standingGood
	}
	return i.standing
}

// holds tells whether an image of the list is held.
func (d division) holds(i *ClassImage, e *entry) bool {
	switch {
	case !d.able || e.alwaysPull && !Pinned(e.image):
		return false
	case d.keep:
		return i.held
	}
	return i.held || i.retry == nil && i.Warmth.Proven()
}

// heldFirst is the order in which a node pulls that has none of the images.
func heldFirst(list []entry) {
	slices.SortStableFunc(list, func(a, b entry) int { return trueFirst(a.held, b.held) })
}
