package plan

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/kube-prepull/kube-prepull/prepull/warmth"
)

// ClassImage is an image with a use in a class of nodes, and what is decided about it there, in this order.
type ClassImage struct {
	*Candidate

	// Warmth is how far the nodes of the class are with it.
	Warmth *warmth.Image

	// listed is set if it is in the list of the class now.
	listed bool

	// verdict is what becomes of it if it fails.
	verdict

	// over is why the budget of the class leaves it out, without a reason if it does not.
	over skip

	// hot is set if a node must have it before it is called warm.
	hot bool
}

// classImages are the images with a use in a class, in the order in which they are given.
func classImages(placed []*Candidate, w *warmth.Warmth, current []corev1.Container) []*ClassImage {
	listed := make(map[string]bool, len(current))
	for _, c := range current {
		listed[c.Name] = true
	}
	rows := make([]ClassImage, len(placed))
	images := make([]*ClassImage, len(placed))
	for i, c := range placed {
		rows[i] = ClassImage{Candidate: c, Warmth: w.Images[c.Name], listed: listed[c.Name]}
		images[i] = &rows[i]
	}
	return images
}

// failing is set of an image that may be in the list, and fails.
func (i *ClassImage) failing() bool { return i.standing != standingOut && i.retry != nil }
