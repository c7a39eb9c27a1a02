package webhook

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
)

func BenchmarkAdmissionPod(b *testing.B) { benchmarkAdmission(b, podReview(b)) }

func BenchmarkAdmissionDeploymentCreate400KB(b *testing.B) {
	benchmarkAdmission(b, deploymentReview(b, 400_000, admissionv1.Create))
}

func BenchmarkAdmissionDeploymentUpdate400KB(b *testing.B) {
	benchmarkAdmission(b, deploymentReview(b, 400_000, admissionv1.Update))
}

// benchmarkAdmission times the handler alone, from the first byte of the body to the last of the answer.
func benchmarkAdmission(b *testing.B, body []byte) {
	h := testHandler(b, func(Hint) bool { return true })
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	took := make([]time.Duration, 0, b.N)
	for b.Loop() {
		request := httptest.NewRequest(http.MethodPost, Path, bytes.NewReader(body))
		recorder := httptest.NewRecorder()
		start := time.Now()
		h.ServeHTTP(recorder, request)
		took = append(took, time.Since(start))
		if recorder.Code != http.StatusOK {
			b.Fatalf("status %d", recorder.Code)
		}
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2])/1e6, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100])/1e6, "p99-ms")
}
