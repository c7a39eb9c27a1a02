package prepull

import (
	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// needFor is how much an object says that its image is needed. One that nothing uses any more is only kept.
func needFor(o *v1alpha1.PrepullImage) need {
	n := optional
	if !o.Managed() {
		n = needOf(o.Annotations)
	}
	if o.Status.UserCount > 0 {
		n = max(n, needIn(o.Status.Required))
	}
	return n
}

// hotSet are those of the chosen images, best first, that a node must have before it is called warm: what fails holds
// nobody up, and what is too large comes later, unless somebody requires it. oversized counts what was left out for its
// size.
func hotSet(chosen []*candidate, failing map[*candidate]bool, maxBytes int64) (hot map[*candidate]bool, oversized int) {
	hot = map[*candidate]bool{}
	left := maxBytes
	for _, c := range chosen {
		if c.need == required && !failing[c] {
			hot[c] = true
			left -= c.bytes()
		}
	}
	for _, c := range chosen {
		switch {
		case c.need != usual || failing[c]:
		case c.bytes() > left:
			oversized++
		default:
			hot[c] = true
			left -= c.bytes()
		}
	}
	return hot, oversized
}
