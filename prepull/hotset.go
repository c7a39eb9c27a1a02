package prepull

import (
	"k8s.io/utils/ptr"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// need is how much a node needs an image before it is called warm. The zero value is that of an image that somebody uses
// and says nothing about.
type need int8

const (
	// optional images are pulled, and nothing waits for them.
	optional need = iota - 1
	// usual images are waited for, as far as they are not too large.
	usual
	// required images are waited for, however large they are.
	required
)

// needOf reads the annotation of a pod, its template or a declared image; what is neither true nor false counts as usual.
func needOf(annotations map[string]string) need {
	switch annotations[v1alpha1.AnnotationRequired] {
	case "true":
		return required
	case "false":
		return optional
	}
	return usual
}

// needIn reads a need from a status, and pointer is what a status says of it.
func needIn(status *bool) need {
	switch {
	case status == nil:
		return usual
	case *status:
		return required
	}
	return optional
}

func (n need) pointer() *bool {
	if n == usual {
		return nil
	}
	return ptr.To(n == required)
}

// needFor is how much an object says that its image is needed. One that nothing uses any more is only kept.
func needFor(o *v1alpha1.PrepullImage) need {
	n := optional
	if !managed(o) {
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
