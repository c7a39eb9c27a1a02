package plan

import (
	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// needFor is how much an object says that its image is needed. One that nothing uses any more is only kept.
func needFor(o *v1alpha1.PrepullImage) workload.Need {
	n := workload.Optional
	if o.Declared() {
		n = workload.NeedOf(o.Annotations)
	}
	if o.Status.UserCount > 0 {
		n = max(n, workload.NeedIn(o.Status.Required))
	}
	return n
}

// markHot marks those of the chosen images, best first, that a node must have before it is called warm: what fails holds
// nobody up, and what is too large comes later, unless somebody requires it. It returns how many were left out for their
// size.
func markHot(chosen []*ClassImage, maxBytes int64) (oversized int) {
	left := maxBytes
	for _, image := range chosen {
		if image.need == workload.Required && !image.failing() {
			image.hot = true
			left -= image.bytes()
		}
	}
	for _, image := range chosen {
		switch {
		case image.need != workload.Usual || image.failing():
		case image.bytes() > left:
			oversized++
		default:
			image.hot = true
			left -= image.bytes()
		}
	}
	return oversized
}
