package webhook

import (
	"encoding/json"
	"fmt"
	"net/http"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// answer allows the admission with this uid.
type answer struct {
	uid     types.UID
	verdict encoded
}

// encoded is a verdict as it is sent.
type encoded struct {
	patch    []byte
	warnings []string
}

func (v verdict) encode() (encoded, error) {
	if len(v.patch) == 0 {
		return encoded{warnings: v.warnings}, nil
	}
	patch, err := json.Marshal(v.patch)
	if err != nil {
		return encoded{}, fmt.Errorf("encoding a patch: %w", err)
	}
	return encoded{patch, v.warnings}, nil
}

func (a answer) write(w http.ResponseWriter) {
	response := &admissionv1.AdmissionResponse{UID: a.uid, Allowed: true, Warnings: a.verdict.warnings}
	// The API server refuses a patch without a type and a type without a patch.
	if a.verdict.patch != nil {
		kind := admissionv1.PatchTypeJSONPatch
		response.Patch, response.PatchType = a.verdict.patch, &kind
	}
	w.Header().Set("Content-Type", "application/json")
	// An error here is a connection that is gone, and with it whoever could be told.
	_ = json.NewEncoder(w).Encode(admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: admissionv1.SchemeGroupVersion.String(), Kind: "AdmissionReview"},
		Response: response,
	})
}
