package plan

import (
	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// needFor is how much an object says that its image is needed. One that nothing uses any more is only kept.
func needFor(o *v1alpha1.PrepullImage) workload.Need {
	n := workload.Optional
	if !o.Managed() {
		n = workload.NeedOf(o.Annotations)
	}
	if o.Status.UserCount > 0 {
		n = max(n, workload.NeedIn(o.Status.Required))
	}
	return n
}

// hotSet are those of the chosen images, best first, that a node must have before it is called warm: what fails holds
// nobody up, and what is too large comes later, unless somebody requires it. oversized counts what was left out for its
// size.
func hotSet(chosen []*Candidate, failing map[*Candidate]bool, maxBytes int64) (hot map[*Candidate]bool, oversized int) {
	hot = map[*Candidate]bool{}
	left := maxBytes
	for _, c := range chosen {
		if c.need == workload.Required && !failing[c] {
			hot[c] = true
			left -= c.bytes()
		}
	}
	for _, c := range chosen {
		switch {
		case c.need != workload.Usual || failing[c]:
		case c.bytes() > left:
			oversized++
		default:
			hot[c] = true
			left -= c.bytes()
		}
	}
	return hot, oversized
}
