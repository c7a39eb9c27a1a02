package operate

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	imagepolicyv1alpha1 "k8s.io/api/imagepolicy/v1alpha1"

	"github.com/kube-prepull/kube-prepull/e2e/cluster"
	"github.com/kube-prepull/kube-prepull/e2e/images"
	"github.com/kube-prepull/kube-prepull/e2e/lab"
)

// TestAnImagePolicyThatRefusesPrepullPods has an API server that asks somebody about the images of each pod (the admission plugin
// ImagePolicyWebhook), who refuses noop at first, and then an image that a Deployment names: the images say so in his words.
func TestAnImagePolicyThatRefusesPrepullPods(t *testing.T) {
	t.Parallel()
	policy := newImagePolicy(t)
	p := product{lab.UninstalledOn(t, cluster.Options{
		Nodes:            []cluster.Node{{Name: "node-1"}},
		AdmissionPlugins: []string{"ImagePolicyWebhook"},
		APIServerFlags:   []string{"--admission-control-config-file=" + policy.file},
	})}
	policy.refuse("kube-prepull-noop")
	if err := p.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.Namespace(t, "shop", true)
	app := p.Push(t, "shop/app:v1", images.Image{Seed: 660})
	p.Deploy(t, "shop", lab.Deployment("app", app, 0))
	p.waitRefused(t, app, "kube-prepull-noop")
	policy.refuse("")
	p.WaitState(t, app, "Ready")

	policy.refuse("unsigned")
	unsigned := p.Push(t, "shop/unsigned:v1", images.Image{Seed: 661})
	p.Deploy(t, "shop", lab.Deployment("unsigned", unsigned, 1))
	p.waitRefused(t, unsigned, "unsigned")
	policy.refuse("")
	p.WaitState(t, unsigned, "Ready")
}

// waitRefused waits until the plugin tells that the policy refuses prepull pods, and because of which image.
func (p product) waitRefused(t *testing.T, image, because string) {
	t.Helper()
	k := lab.PluginFor(t, p.Cluster)
	lab.Eventually(t, "the plugin to say why there are no prepull pods", func() error {
		want := "Prepull pods are refused: image policy webhook backend denied one or more images: nobody signed " + because
		if out, _, _ := k.Run(t, "explain", image); !strings.Contains(out, want) {
			return errors.New(out)
		}
		return nil
	})
}

// imagePolicy answers for the plugin ImagePolicyWebhook.
type imagePolicy struct {
	file    string // configures the plugin
	refused atomic.Value
}

func (p *imagePolicy) refuse(part string) { p.refused.Store(part) }

func newImagePolicy(t *testing.T) *imagePolicy {
	t.Helper()
	p := &imagePolicy{file: filepath.Join(t.TempDir(), "admission.yaml")}
	p.refuse("")
	server := httptest.NewTLSServer(p)
	t.Cleanup(server.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	kubeconfig := filepath.Join(filepath.Dir(p.file), "kubeconfig.yaml")
	write := func(file, content string) {
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(kubeconfig+".crt", string(ca))
	write(kubeconfig, fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: policy
clusters: [{name: policy, cluster: {server: %q, certificate-authority: %q}}]
users: [{name: policy, user: {}}]
contexts: [{name: policy, context: {cluster: policy, user: policy}}]
`, server.URL, kubeconfig+".crt"))
	// Answers are remembered for a second.
	write(p.file, fmt.Sprintf(`apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
- name: ImagePolicyWebhook
  configuration:
    imagePolicy: {kubeConfigFile: %q, allowTTL: 1, denyTTL: 1, defaultAllow: false}
`, kubeconfig))
	return p
}

func (p *imagePolicy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var review imagepolicyv1alpha1.ImageReview
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	review.Status.Allowed = true
	part := p.refused.Load().(string)
	for _, c := range review.Spec.Containers {
		if part != "" && strings.Contains(c.Image, part) {
			review.Status = imagepolicyv1alpha1.ImageReviewStatus{Reason: "nobody signed " + part}
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(review)
}
