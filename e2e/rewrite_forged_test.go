package e2e

import (
	"bytes"
	"crypto/tls"
	"io"
	"net/http"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestAForgedReviewCallsNoRegistry and gets no digest: a pod that sends one does not know where.
func TestAForgedReviewCallsNoRegistry(t *testing.T) {
	t.Parallel()
	n := newPinning(t, "forged", "tags")
	n.versions(t, "app", 1)
	request := deploymentReview(t, admissionv1.Create, n.name, deployment("forged", n.image("app:v1"), 0))
	review := rawJSON(t, admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"}, Request: request,
	})
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	before := n.questions("app")
	for _, manager := range n.managers(t) {
		for _, path := range []string{"/rewrite", "/rewrite/", "/rewrite/guess", "/rewrite/AAAAAAAAAAAAAAAAAAAAAAAAAA", "/"} {
			response, err := client.Post("https://"+manager.Status.PodIP+":9443"+path, "application/json", bytes.NewReader(review.Raw))
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(response.Body)
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				t.Errorf("the answer at %s is %s", path, body)
			}
		}
		forgeTo(t, n.product, "/observe", request)
	}
	if asked := n.questions("app"); asked != before {
		t.Errorf("the registry was asked %d times", asked-before)
	}
}
