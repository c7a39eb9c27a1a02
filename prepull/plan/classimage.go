package plan

import "github.com/kube-prepull/kube-prepull/prepull/warmth"

// ClassImage is an image with a use in a class of nodes, and what is decided about it there, in this order.
type ClassImage struct {
	*Candidate

	// Warmth is how far the nodes of the class are with it.
	Warmth *warmth.Image

	// listed is set if it is in a list of the class now.
	listed bool

	// lane is the number of the one that it is pulled in, and in are those whose lists have it now.
	lane int
	in   []int

	// verdict is what becomes of it if it fails.
	verdict

	// over is why the budget of the class leaves it out, without a reason if it does not.
	over skip

	// hot is set if a node must have it before it is called warm.
	hot bool
}

// classImages are the images with a use in a class, in the order in which they are given.
func classImages(placed []*Candidate, w *warmth.Warmth, lanes []*lane) []*ClassImage {
	in := map[string][]int{}
	for _, l := range lanes {
		for _, listed := range l.current {
			in[listed.Name] = append(in[listed.Name], l.number)
		}
	}
	rows := make([]ClassImage, len(placed))
	images := make([]*ClassImage, len(placed))
	for i, c := range placed {
		rows[i] = ClassImage{Candidate: c, Warmth: w.Images[c.Name], listed: len(in[c.Name]) > 0, lane: 1, in: in[c.Name]}
		if rows[i].listed {
			rows[i].lane = rows[i].in[0]
		}
		images[i] = &rows[i]
	}
	return images
}

// failing is set of an image that may be in the list, and fails.
func (i *ClassImage) failing() bool { return i.standing != standingOut && i.retry != nil }
