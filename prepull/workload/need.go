package workload

import (
	"k8s.io/utils/ptr"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// Need is how much a node needs an image before it is called warm. The zero value is that of an image that somebody uses
// and says nothing about.
type Need int8

const (
	// Optional images are pulled, and nothing waits for them.
	Optional Need = iota - 1
	// Usual images are waited for, as far as they are not too large.
	Usual
	// Required images are waited for, however large they are.
	Required
)

// NeedOf reads the annotation of a pod, its template or a declared image; what is neither true nor false counts as usual.
func NeedOf(annotations map[string]string) Need {
	switch annotations[v1alpha1.AnnotationRequired] {
	case "true":
		return Required
	case "false":
		return Optional
	}
	return Usual
}

// NeedIn reads a need from a status, and pointer is what a status says of it.
func NeedIn(status *bool) Need {
	switch {
	case status == nil:
		return Usual
	case *status:
		return Required
	}
	return Optional
}

func (n Need) Pointer() *bool {
	if n == Usual {
		return nil
	}
	return ptr.To(n == Required)
}
