package pin

import (
	"github.com/kube-prepull/kube-prepull/e2e/lab"

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
	n := pinning{lab.NewPinning(t, "forged", "tags")}
	n.Versions(t, "app", 1)
	request := lab.DeploymentReview(t, admissionv1.Create, n.Name, lab.Deployment("forged", n.Image("app:v1"), 0))
	review := lab.RawJSON(t, admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"}, Request: request,
	})
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	before := n.Questions("app")
	for _, manager := range n.Managers(t) {
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
		lab.ForgeTo(t, n.Product, "/observe", request)
	}
	if asked := n.Questions("app"); asked != before {
		t.Errorf("the registry was asked %d times", asked-before)
	}
}
