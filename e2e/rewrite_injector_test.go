package e2e

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	registrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestOtherWebhooksAddContainers before kube-prepull is asked and after it, to pods and to templates, at the front of the
// list and at its end.
func TestOtherWebhooksAddContainers(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		configuration, resource, path string
		// pinned is set if the sidecar was there when kube-prepull was asked about the template.
		pinned bool
	}{
		"a pod before us":         {"a-injector", "pods", "/spec/containers/0", false},
		"a pod after us":          {"z-injector", "pods", "/spec/containers/0", false},
		"the end of a pod before": {"b-injector", "pods", "/spec/containers/-", false},
		"the end of a pod after":  {"y-injector", "pods", "/spec/containers/-", false},
		"a template before us":    {"c-injector", "deployments", "/spec/template/spec/containers/0", true},
		"a template after us":     {"x-injector", "deployments", "/spec/template/spec/containers/0", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newPinning(t, test.configuration, "latest")
			digest := n.versions(t, "app", 1)[0]
			side := n.versions(t, "side", 1)[0]
			n.point(t, "app", "latest", "v1")
			n.point(t, "side", "latest", "v1")
			sidecar := podOn("", "sidecar", n.image("side:latest")).Spec.Containers[0]
			sidecar.Name = "sidecar"
			n.inject(t, test.configuration, test.resource, test.path, sidecar)

			n.create(t, "deployment", "app", podTemplate("app", n.image("app:latest")))
			var pod corev1.Pod
			eventually(t, time.Minute, "the pod to run", func() error {
				pods := n.pods(t, "app")
				if len(pods) != 1 || !podRunning(&pods[0]) {
					return fmt.Errorf("there are %d pods", len(pods))
				}
				pod = pods[0]
				return nil
			})
			want := map[string]string{"app": n.digested("app", digest), "sidecar": n.image("side:latest")}
			if test.pinned {
				want["sidecar"] = n.digested("side", side)
			}
			for _, c := range pod.Spec.Containers {
				if c.Image != want[c.Name] {
					t.Errorf("container %s has %s, want %s", c.Name, c.Image, want[c.Name])
				}
			}
			if len(pod.Spec.Containers) != 2 {
				t.Errorf("there are %d containers, want 2", len(pod.Spec.Containers))
			}
		})
	}
}

// inject installs a webhook of another party, served by this process, that adds a container where a JSON patch says.
func (n *pinning) inject(t *testing.T, configuration, resource, path string, sidecar corev1.Container) {
	t.Helper()
	patch, err := json.Marshal([]map[string]any{{"op": "add", "path": path, "value": sidecar}})
	if err != nil {
		t.Fatal(err)
	}
	certificate, url := serveWebhook(t, n.HostIP(), func(request *admissionv1.AdmissionRequest) []byte {
		if strings.Contains(string(request.Object.Raw), `"name":"sidecar"`) {
			return nil
		}
		return patch
	})
	fail, none, group := registrationv1.Fail, registrationv1.SideEffectClassNone, ""
	if resource == "deployments" {
		group = "apps"
	}
	_, err = n.Client().AdmissionregistrationV1().MutatingWebhookConfigurations().Create(t.Context(), &registrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: configuration},
		Webhooks: []registrationv1.MutatingWebhook{{
			Name: configuration + ".example.com", FailurePolicy: &fail, SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
			ClientConfig:      registrationv1.WebhookClientConfig{CABundle: []byte(certificate), URL: &url},
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: n.name}},
			Rules: []registrationv1.RuleWithOperations{{
				Operations: []registrationv1.OperationType{registrationv1.Create},
				Rule:       registrationv1.Rule{APIGroups: []string{group}, APIVersions: []string{"v1"}, Resources: []string{resource}},
			}},
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.removeWebhooks(t, configuration) })
	n.waitInjected(t, resource)
}

// waitInjected returns when the API server knows the webhook.
func (n *pinning) waitInjected(t *testing.T, resource string) {
	t.Helper()
	dryRun := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
	eventually(t, time.Minute, "the other webhook to be asked", func() error {
		var spec corev1.PodSpec
		if resource == "pods" {
			spec = n.tryPod(t, podOn("", "try", n.image("app:v1"))).Spec
		} else {
			d, err := n.Client().AppsV1().Deployments(n.name).Create(t.Context(), deployment("try", n.image("app:v1"), 0), dryRun)
			if err != nil {
				return err
			}
			spec = d.Spec.Template.Spec
		}
		if !slices.ContainsFunc(spec.Containers, func(c corev1.Container) bool { return c.Name == "sidecar" }) {
			return fmt.Errorf("it is not")
		}
		return nil
	})
}

// serveWebhook serves admission reviews in this process until the test ends, and returns its certificate and address.
func serveWebhook(t *testing.T, host string, patch func(*admissionv1.AdmissionRequest) []byte) (certificate, url string) {
	t.Helper()
	listener, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	certificate, key := selfSigned(t, host)
	pair, err := tls.X509KeyPair([]byte(certificate), []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var review admissionv1.AdmissionReview
			if err := json.NewDecoder(r.Body).Decode(&review); err != nil || review.Request == nil {
				http.Error(w, "not a review", http.StatusBadRequest)
				return
			}
			review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true}
			if operations := patch(review.Request); operations != nil {
				kind := admissionv1.PatchTypeJSONPatch
				review.Response.Patch, review.Response.PatchType = operations, &kind
			}
			review.Request = nil
			json.NewEncoder(w).Encode(review) //nolint:errcheck // the API server notices
		}),
	}
	go server.ServeTLS(listener, "", "") //nolint:errcheck // it ends with the test
	t.Cleanup(func() { server.Close() })
	return certificate, "https://" + listener.Addr().String() + "/"
}

func (n *pinning) removeWebhooks(t *testing.T, configuration string) {
	t.Helper()
	if err := n.Client().AdmissionregistrationV1().MutatingWebhookConfigurations().Delete(context.Background(), configuration, metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
}
