package metrics

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/e2e/lab"
)

// TestMetricsAreForThoseWhoMayGetThem scrapes a manager as documented: over HTTPS, with the CAs from the ConfigMap, the
// name of the Service and a token. Without one of these nothing is to be had. The ConfigMap is emptied on the way.
func TestMetricsAreForThoseWhoMayGetThem(t *testing.T) {
	t.Parallel()
	p := product{lab.Shared(t)}
	maps := p.Client().CoreV1().ConfigMaps(lab.System)
	cas := ""
	waitTrust := func() {
		t.Helper()
		lab.Eventually(t, "the ConfigMap to have the CAs", func() error {
			trust, err := maps.Get(t.Context(), "kube-prepull-trust", metav1.GetOptions{})
			if err != nil {
				return err
			}
			if cas = trust.Data["ca.crt"]; !strings.Contains(cas, "BEGIN CERTIFICATE") {
				return fmt.Errorf("it has %v", trust.Data)
			}
			return nil
		})
	}
	waitTrust()
	if _, err := maps.Patch(t.Context(), "kube-prepull-trust", "application/merge-patch+json", []byte(`{"data":null}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	waitTrust()

	nobody, err := p.Client().CoreV1().ServiceAccounts(metav1.NamespaceDefault).CreateToken(t.Context(), "default", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	address := net.JoinHostPort(p.Managers(t)[0].Status.PodIP, "8080")
	for name, tt := range map[string]struct {
		token string
		want  int
	}{
		"who has the role":    {p.ScrapeToken(t), http.StatusOK},
		"who has it not":      {nobody.Status.Token, http.StatusForbidden},
		"who has no token":    {"", http.StatusUnauthorized},
		"who forges a token":  {p.ScrapeToken(t) + "A", http.StatusUnauthorized},
		"who makes a mess up": {"nonsense", http.StatusUnauthorized},
	} {
		status, body, err := lab.Scrape(t.Context(), address, tt.token, []byte(cas))
		if err != nil || status != tt.want || strings.Contains(string(body), "\nkube_prepull_") != (tt.want == http.StatusOK) {
			t.Errorf("%s gets %d (%v), want %d: %.200s", name, status, err, tt.want, body)
		}
	}
	if response, err := http.Get("http://" + address + "/metrics"); err == nil {
		if response.Body.Close(); response.StatusCode != http.StatusBadRequest {
			t.Errorf("plain HTTP gets %s", response.Status)
		}
	}
	if _, _, err := lab.Scrape(t.Context(), address, p.ScrapeToken(t), nil); err == nil {
		t.Error("a scraper that trusts nobody accepts the certificate")
	}
}

// TestOptionalObjectsAreValid has the API server look at what the chart makes with values that are not the default's.
func TestOptionalObjectsAreValid(t *testing.T) {
	t.Parallel()
	p := product{lab.Shared(t)}
	monitors := lab.Source("e2e/testdata/monitors.yaml")
	if _, err := p.Kubectl(t.Context(), "apply", "-f", monitors); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := p.Kubectl(context.Background(), "delete", "-f", monitors); err != nil {
			t.Error(err)
		}
	})
	if _, err := p.Kubectl(t.Context(), "wait", "--for=condition=Established", "-f", monitors); err != nil {
		t.Fatal(err)
	}
	for name, values := range map[string]string{
		"a ServiceMonitor": "serviceMonitor.enabled=true,serviceMonitor.interval=30s",
		"a PodMonitor":     "podMonitor.enabled=true,podMonitor.authorization.credentials.name=token,podMonitor.authorization.credentials.key=token",
		"policies": "networkPolicy.webhookFrom[0].ipBlock.cidr=10.0.0.0/28,networkPolicy.metricsFrom[0].podSelector.matchLabels.app=prometheus," +
			"networkPolicy.egress[0].ports[0].port=443",
		"plain metrics": "config.metricsAuthentication=false,annotations.owner=platform",
	} {
		render := exec.CommandContext(t.Context(), filepath.Join(p.Programs(), "helm"), "template", "kube-prepull", lab.Source("deploy/chart"),
			"--namespace", lab.System, "--no-hooks", "--set", values)
		manifest, err := render.Output()
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "manifest.yaml")
		if err := os.WriteFile(file, manifest, 0o600); err != nil {
			t.Fatal(err)
		}
		if output, err := p.Kubectl(t.Context(), "apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict", "-f", file); err != nil {
			t.Errorf("%s: %v: %s", name, err, output)
		}
	}
}
