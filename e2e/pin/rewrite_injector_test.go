package pin

import (
	"github.com/kube-prepull/kube-prepull/e2e/lab"

	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestInjectedContainersAreLeftAlone has a mesh's webhook that adds a container to pods, before kube-prepull's or after
// it, at the end of the list or at its beginning.
func TestInjectedContainersAreLeftAlone(t *testing.T) {
	t.Parallel()
	for name, at := range map[string]struct {
		place string
		again admissionregistrationv1.ReinvocationPolicyType
	}{
		"a-last":  {"-", admissionregistrationv1.NeverReinvocationPolicy},
		"a-first": {"0", admissionregistrationv1.NeverReinvocationPolicy},
		"z-last":  {"-", admissionregistrationv1.NeverReinvocationPolicy},
		"z-first": {"0", admissionregistrationv1.NeverReinvocationPolicy},
		"a-again": {"0", admissionregistrationv1.IfNeededReinvocationPolicy},
		"z-again": {"0", admissionregistrationv1.IfNeededReinvocationPolicy},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := pinning{lab.NewPinning(t, "inject-"+name, "latest")}
			digest := n.Versions(t, "app", 1)[0]
			n.point(t, "app", "latest", "v1")
			n.Versions(t, "sidecar", 1)
			n.point(t, "sidecar", "latest", "v1")
			image, sidecar := n.Image("app:latest"), n.Image("sidecar:latest")
			n.injector(t, name, "pods", "/spec/containers", at.place, sidecar, at.again)
			n.create(t, "deployment", "web", podTemplate("web", image))
			n.wantPins(t, "deployment", "web", appPin(image, digest))
			pod := n.waitRunning(t, "web")
			want := map[string]string{"app": n.digested("app", digest) + " IfNotPresent", "sidecar": sidecar + " Always"}
			if diff := cmp.Diff(want, containersOf(pod)); diff != "" {
				t.Errorf("containers (-want +got):\n%s", diff)
			}
			if got := pod.Annotations["kube-prepull.io/rewritten"]; got != "app="+image {
				t.Errorf("the marker is %q", got)
			}
		})
	}
}

// TestAnInjectedTemplate is pinned with what another webhook put into it before, and what one puts in later is not. To
// apply the Deployment again changes neither, though the tags have moved.
func TestAnInjectedTemplate(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"a-template", "z-template"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := pinning{lab.NewPinning(t, "inject-"+name, "latest")}
			digests := map[string][]string{}
			for _, repository := range []string{"app", "sidecar"} {
				digests[repository] = n.Versions(t, repository, 2)
				n.point(t, repository, "latest", "v1")
			}
			image, sidecar := n.Image("app:latest"), n.Image("sidecar:latest")
			n.injector(t, name, "deployments", "/spec/template/spec/containers", "0", sidecar, admissionregistrationv1.NeverReinvocationPolicy)
			manifest := n.manifest(t, fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: %s}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: app, image: %q}]
`, n.Name, image))
			n.kubectl(t, "apply", "--server-side", "-f", manifest)
			pins := appPin(image, digests["app"][0])
			containers := map[string]string{"app": n.digested("app", digests["app"][0]) + " IfNotPresent", "sidecar": sidecar + " Always"}
			if name == "a-template" {
				pins["pin.kube-prepull.io/sidecar"] = sidecar + "@" + digests["sidecar"][0]
				containers["sidecar"] = n.digested("sidecar", digests["sidecar"][0]) + " IfNotPresent"
			}
			n.wantPins(t, "deployment", "web", pins)
			if diff := cmp.Diff(containers, containersOf(n.waitRunning(t, "web"))); diff != "" {
				t.Errorf("containers (-want +got):\n%s", diff)
			}
			before, _ := n.stored(t, "deployment", "web")

			for repository := range digests {
				n.point(t, repository, "latest", "v2")
			}
			for range 3 {
				n.kubectl(t, "apply", "--server-side", "-f", manifest)
			}
			n.wantPins(t, "deployment", "web", pins)
			if after, _ := n.stored(t, "deployment", "web"); after.GetGeneration() != before.GetGeneration() {
				t.Errorf("the Deployment went from generation %d to %d", before.GetGeneration(), after.GetGeneration())
			}
		})
	}
}

// injector is a webhook of this process that adds a container named sidecar to one list of an object, unless it is there.
// The API server calls webhooks in the order of their names.
func (n pinning) injector(t *testing.T, name, resource, list, place, image string, again admissionregistrationv1.ReinvocationPolicyType) {
	t.Helper()
	certificate, key := lab.SelfSigned(t, n.HostIP())
	pair, err := tls.X509KeyPair([]byte(certificate), []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", n.HostIP()+":0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{
		ReadHeaderTimeout: time.Minute, TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { inject(w, r, list+"/"+place, image) }),
	}
	go server.ServeTLS(listener, "", "") //nolint:errcheck // ends with the error of Close

	group, version := "apps", "v1"
	if resource == "pods" {
		group = ""
	}
	url, fail, none := "https://"+listener.Addr().String(), admissionregistrationv1.Fail, admissionregistrationv1.SideEffectClassNone
	configurations := n.Client().AdmissionregistrationV1().MutatingWebhookConfigurations()
	configuration := &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name: name + ".example.com", FailurePolicy: &fail, SideEffects: &none, AdmissionReviewVersions: []string{"v1"}, ReinvocationPolicy: &again,
			ClientConfig:      admissionregistrationv1.WebhookClientConfig{URL: &url, CABundle: []byte(certificate)},
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: n.Name}},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create, admissionregistrationv1.Update},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{group}, APIVersions: []string{version}, Resources: []string{resource}},
			}},
		}},
	}
	if _, err := configurations.Create(t.Context(), configuration, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := configurations.Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
		server.Close() //nolint:errcheck // the end of the test
	})
	n.waitInjecting(t, resource)
}

// waitInjecting waits until the API server goes by a webhook's configuration.
func (n pinning) waitInjecting(t *testing.T, resource string) {
	t.Helper()
	dry := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
	lab.Eventually(t, "the API server to call the injector", func() error {
		d := lab.Deployment("probe", n.Image("probe:v1"), 0)
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "probe"}, Spec: d.Spec.Template.Spec}
		var err error
		if resource == "pods" {
			pod, err = n.Client().CoreV1().Pods(n.Name).Create(t.Context(), pod, dry)
		} else if d, err = n.Client().AppsV1().Deployments(n.Name).Create(t.Context(), d, dry); err == nil {
			pod.Spec = d.Spec.Template.Spec
		}
		if err == nil && len(pod.Spec.Containers) != 2 {
			err = fmt.Errorf("there are %d containers", len(pod.Spec.Containers))
		}
		return err
	})
}

func inject(w http.ResponseWriter, r *http.Request, path, image string) {
	var review admissionv1.AdmissionReview
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var object struct {
		Spec struct {
			Containers []corev1.Container `json:"containers"`
			Template   struct {
				Spec corev1.PodSpec `json:"spec"`
			} `json:"template"`
		} `json:"spec"`
	}
	if err := json.Unmarshal(review.Request.Object.Raw, &object); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	response := &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true}
	there := false
	for _, c := range append(object.Spec.Containers, object.Spec.Template.Spec.Containers...) {
		there = there || c.Name == "sidecar"
	}
	if !there {
		kind := admissionv1.PatchTypeJSONPatch
		patch, err := json.Marshal([]map[string]any{{"op": "add", "path": path, "value": corev1.Container{Name: "sidecar", Image: image}}})
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		response.Patch, response.PatchType = patch, &kind
	}
	review.Response = response
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(review) //nolint:errcheck // the API server notices
}

// waitRunning waits for the only pod of a workload, and for all of its containers.
func (n pinning) waitRunning(t *testing.T, name string) corev1.Pod {
	t.Helper()
	var pods []corev1.Pod
	lab.Eventually(t, "the pod of "+name, func() error {
		if pods = n.pods(t, name); len(pods) != 1 {
			return fmt.Errorf("there are %d", len(pods))
		}
		for _, s := range pods[0].Status.ContainerStatuses {
			if !s.Ready {
				return fmt.Errorf("%s is %+v", s.Name, s.State)
			}
		}
		if !lab.PodRunning(&pods[0]) {
			return fmt.Errorf("it is %s", pods[0].Status.Phase)
		}
		return nil
	})
	return pods[0]
}

// containersOf are image and pull policy of each container.
func containersOf(pod corev1.Pod) map[string]string {
	containers := map[string]string{}
	for _, c := range pod.Spec.Containers {
		containers[c.Name] = c.Image + " " + string(c.ImagePullPolicy)
	}
	return containers
}
