package webhook

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kube-prepull/kube-prepull/prepull/workload"

	admissionv1 "k8s.io/api/admission/v1"
)

func learnOnly(b *testing.B) *handler {
	return testHandler(b, func(workload.Hint) bool { return true })
}

func BenchmarkAdmissionPod(b *testing.B) { benchmarkAdmission(b, learnOnly(b), Path, podReview(b)) }

func BenchmarkAdmissionDeploymentCreate400KB(b *testing.B) {
	benchmarkAdmission(b, learnOnly(b), Path, deploymentReview(b, 400_000, admissionv1.Create))
}

func BenchmarkAdmissionDeploymentUpdate400KB(b *testing.B) {
	benchmarkAdmission(b, learnOnly(b), Path, deploymentReview(b, 400_000, admissionv1.Update))
}

func BenchmarkAdmissionPodWithPins(b *testing.B) {
	object := fmt.Sprintf(podObject, ownedBySet+","+annotations("pin.kube-prepull.io/app", "app@"+one, "pin.kube-prepull.io/init", "init:latest@"+two), "app")
	benchmarkAdmission(b, rewriting(b, labelled, pointsTo(two)), testPath, reviewOf(b, "", "Pod", "", object))
}

func BenchmarkAdmissionDeploymentWithARememberedTag(b *testing.B) {
	benchmarkAdmission(b, rewriting(b, labelled, pointsTo(two)), testPath, reviewOf(b, "apps", "Deployment", "", deploymentWith("", "", "app:latest")))
}

// The tag of a container of 400 KB changes, so both templates are compared.
func BenchmarkAdmissionDeploymentUpdate400KBWithARememberedTag(b *testing.B) {
	old := strings.Replace(deploymentWith("", "", "app:v1"), `"new":1`, `"new":"`+strings.Repeat("x", 400_000)+`"`, 1)
	benchmarkAdmission(b, rewriting(b, labelled, pointsTo(two)), testPath,
		reviewOf(b, "apps", "Deployment", old, strings.Replace(old, "app:v1", "app:latest", 1)))
}

// benchmarkAdmission times the handler alone, from the first byte of the body to the last of the answer.
func benchmarkAdmission(b *testing.B, h *handler, path string, body []byte) {
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	took := make([]time.Duration, 0, b.N)
	for b.Loop() {
		request := httptest.NewRequest(http.MethodPost, path, bytes.NewReader(body))
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
