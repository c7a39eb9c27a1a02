package lab

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// DeploymentReview is what the API server would send about a Deployment.
func DeploymentReview(t *testing.T, operation admissionv1.Operation, namespace string, d *appsv1.Deployment) *admissionv1.AdmissionRequest {
	d.Namespace = namespace
	return &admissionv1.AdmissionRequest{
		UID: "forged", Operation: operation, Namespace: namespace, Name: d.Name, Object: RawJSON(t, d),
		Kind:     metav1.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"},
		Resource: metav1.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"},
	}
}

// PodReview is what the API server would send about a pod that has no name yet, of a ReplicaSet that does not exist.
func PodReview(t *testing.T, namespace, image string) *admissionv1.AdmissionRequest {
	pod, controller := PodOn("", "", image), true
	pod.Namespace, pod.GenerateName = namespace, "stored-5d9c7b8f6-"
	pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "stored-5d9c7b8f6", UID: "made-up", Controller: &controller}}
	return &admissionv1.AdmissionRequest{
		UID: "forged", Operation: admissionv1.Create, Namespace: namespace, Object: RawJSON(t, pod),
		Kind:     metav1.GroupVersionKind{Version: "v1", Kind: "Pod"},
		Resource: metav1.GroupVersionResource{Version: "v1", Resource: "pods"},
	}
}

// RawJSON is an object as JSON.
func RawJSON(t *testing.T, object any) runtime.RawExtension {
	t.Helper()
	raw, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	return runtime.RawExtension{Raw: raw}
}

// ForgeTo posts a review to every manager, as any pod of the cluster could, and checks that it is allowed without a patch.
func ForgeTo(t *testing.T, p *Product, path string, request *admissionv1.AdmissionRequest) {
	t.Helper()
	review := RawJSON(t, admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"}, Request: request,
	})
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	for _, manager := range p.Managers(t) {
		response, err := client.Post("https://"+manager.Status.PodIP+":9443"+path, "application/json", bytes.NewReader(review.Raw))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || !strings.Contains(string(body), `"allowed":true`) || strings.Contains(string(body), `"patch"`) {
			t.Errorf("the webhook answers %s (%v), want allowed without a patch", body, err)
		}
	}
}
