package plan

import "slices"

// A list is divided in two. What an init container brings is new to some node, always pulled, or tried again; what an image
// volume holds is proven, costs a node next to nothing when the list changes, and keeps nothing else from a node that cannot
// pull it. Another division alone restarts no pod: an image is held both by the container that it had and by a volume, so
// pods that run are left alone, and what starts later follows the new division (changedDivision).
type division struct {
	// able is set if the nodes of the class can mount image volumes. If they no longer can, all is brought again.
	able bool

	// still is set while the list does not change, and busy while pods are replaced, or have to be: that would stop if pods were
	// left alone.
	still, busy bool
}

// standingOf an image in a lane. One that is held does not leave for its failures alone, as long as it is in nobody's way: pods
// that were made before it was held bring it still.
func (l *lane) standingOf(i *ClassImage) standing {
	if l.was(i).Held && l.able && l.still && !i.Warmth.Blocks() {
		return standingGood
	}
	return i.standing
}

// holds tells whether an image of the list of a lane is held.
func (l *lane) holds(i *ClassImage) bool {
	was := l.was(i)
	switch {
	case !l.able || i.alwaysPull && !Pinned(i.image):
		return false
	case was.Held || l.still && l.busy:
		return was.Held
	}
	// What is always pulled stays so until the list changes.
	return i.retry == nil && i.Warmth.Proven() && !(l.still && was.always)
}

// heldFirst is the order in which a node pulls that has none of the images.
func heldFirst(list []entry) {
	slices.SortStableFunc(list, func(a, b entry) int { return trueFirst(a.held, b.held) })
}
