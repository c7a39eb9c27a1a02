// Package admission tells what an answer of the API server to a write means.
package admission

import (
	"errors"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Refused tells whether something in the API server decided against an object. Webhooks give any code from 400 to 499, and 400
// if they name none (apiserver: pkg/admission/plugin/webhook/errors/statuserror.go). That a namespace has no service account
// yet, or is gone, is no such decision, nor is that nobody answers.
func Refused(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return false
	}
	switch code := status.Status().Code; code {
	case http.StatusUnauthorized, http.StatusNotFound, http.StatusRequestTimeout, http.StatusConflict, http.StatusTooManyRequests:
		return false
	default:
		return code >= 400 && code < 500
	}
}
