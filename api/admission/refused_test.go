package admission

import (
	"errors"
	"fmt"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestRefused(t *testing.T) {
	t.Parallel()
	pods := schema.GroupResource{Resource: "pods"}
	for name, tc := range map[string]struct {
		err  error
		want bool
	}{
		"nothing":                           {nil, false},
		"a policy or a quota":               {apierrors.NewForbidden(pods, "p", errors.New("no")), true},
		"a policy that names its reason":    {apierrors.NewInvalid(schema.GroupKind{Kind: "Pod"}, "p", nil), true},
		"a webhook that names no code":      {apierrors.NewBadRequest("admission webhook denied the request"), true},
		"a webhook with a code of its own":  {&apierrors.StatusError{ErrStatus: metav1.Status{Code: 418}}, true},
		"wrapped":                           {fmt.Errorf("trying a pod: %w", apierrors.NewBadRequest("denied")), true},
		"a namespace that is gone":          {apierrors.NewNotFound(pods, "p"), false},
		"somebody else was faster":          {apierrors.NewConflict(pods, "p", errors.New("changed")), false},
		"too many requests":                 {apierrors.NewTooManyRequests("later", 1), false},
		"no longer known to the API server": {apierrors.NewUnauthorized("who?"), false},
		"a webhook that does not answer":    {apierrors.NewInternalError(errors.New("failed calling webhook")), false},
		"no answer":                         {errors.New("connection refused"), false},
	} {
		if got := Refused(tc.err); got != tc.want {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
}
