package plan

import "github.com/kube-prepull/kube-prepull/prepull/warmth"

// ClassImage is an image with a use in a class of nodes, and what is decided about it there, in this order.
type ClassImage struct {
	*Candidate

	// Warmth is how far the nodes of the class are with it.
	Warmth *warmth.Image

	// listed is set if it is in the list of the class now, held if it is an image volume there, and always if it is pulled there
	// at every start of a pod.
	listed, held, always bool

	// verdict is what becomes of it if it fails.
	verdict

	// over is why the budget of the class leaves it out, without a reason if it does not.
	over skip

	// hot is set if a node must have it before it is called warm.
	hot bool
}

// classImages are the images with a use in a class, in the order in which they are given.
func classImages(placed []*Candidate, w *warmth.Warmth, current []Listed) []*ClassImage {
	listed := make(map[string]Listed, len(current))
	for _, l := range current {
		listed[l.Name] = l
	}
	rows := make([]ClassImage, len(placed))
	images := make([]*ClassImage, len(placed))
	for i, c := range placed {
		was, found := listed[c.Name]
		rows[i] = ClassImage{Candidate: c, Warmth: w.Images[c.Name], listed: found, held: was.Held, always: was.always}
		images[i] = &rows[i]
	}
	return images
}

// failing is set of an image that may be in the list, and fails.
func (i *ClassImage) failing() bool { return i.standing != standingOut && i.retry != nil }
