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
