package certs

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/e2e/cluster"
	"github.com/kube-prepull/kube-prepull/e2e/images"
	"github.com/kube-prepull/kube-prepull/e2e/lab"
)

// TestNoAdmissionFailsWhileCertificatesComeFromElsewhere installs cert-manager where kube-prepull runs already, takes its
// CA and its certificate away, changes the setting in every direction, and removes cert-manager's API, while Deployments
// are created. The webhook denies what it cannot be asked about, so that a certificate that the API server does not trust
// would be an error.
func TestNoAdmissionFailsWhileCertificatesComeFromElsewhere(t *testing.T) {
	lab.RequireNodes(t)
	t.Parallel()
	programs, err := lab.BuildCertManager(t.Context(), lab.Progress{T: t})
	if err != nil {
		t.Fatal(err)
	}
	p := product{lab.Own(t, "node-1")}
	certificates := closedChart(t, p)
	certificates("auto")
	p.Namespace(t, "shop", true)
	image := p.Push(t, "shop/app:v1", images.Image{Seed: 171})
	p.Deploy(t, "shop", lab.Deployment("app", image, 0))
	p.WaitState(t, image, "Ready")
	p.WaitTrusted(t)

	stop := p.AdmitAllTheTime(t, "shop", image)
	step := func(name string, f func()) {
		start := time.Now()
		f()
		t.Logf("%-50s %s", name, time.Since(start).Round(time.Second))
	}
	step("an API without controllers", func() {
		lab.Kubectl(t, p.Product, "apply", "--server-side", "-f", certManagerCRDs(t))
		lab.Eventually(t, "the Certificate", func() error {
			_, err := p.Kubectl(t.Context(), "get", "certificate", "kube-prepull-serving", "--namespace", lab.System)
			return err
		})
		p.waitCertificates(t, false, true)
	})
	step("cert-manager begins to work", func() {
		for _, name := range []string{"controller", "cainjector"} {
			if err := p.Run(t.Context(), cluster.Process{Name: "cert-manager-" + name, Path: filepath.Join(programs, name), Args: []string{"--kubeconfig=" + p.Kubeconfig()}}); err != nil {
				t.Fatal(err)
			}
		}
		p.waitCertificates(t, true, true)
	})
	step("its CA is deleted", func() {
		before := p.secretData(t, "kube-prepull-serving")
		p.deleteSecret(t, "kube-prepull-issuer")
		p.waitOther(t, "kube-prepull-serving", before)
		p.waitCertificates(t, true, true)
		if manager := p.injector(t); !strings.Contains(manager, "cainjector") {
			t.Errorf("the CAs were put in the webhook configuration by %s", manager)
		}
	})
	step("its certificate is deleted", func() {
		before := p.secretData(t, "kube-prepull-serving")
		p.deleteSecret(t, "kube-prepull-serving")
		p.waitOther(t, "kube-prepull-serving", before)
		p.waitCertificates(t, true, true)
	})
	step("our own CA is deleted meanwhile", func() {
		before := p.secretData(t, "kube-prepull-ca")
		p.deleteSecret(t, "kube-prepull-ca")
		p.waitOther(t, "kube-prepull-ca", before)
		p.waitCertificates(t, true, true)
	})
	p.MayBeRefused() // from here on managers lose what those before them need
	step("self-managed is forced", func() { certificates("self-managed"); p.waitCertificates(t, false, true) })
	step("cert-manager is forced", func() { certificates("cert-manager"); p.waitCertificates(t, true, false) })
	step("back to auto", func() { certificates("auto"); p.waitCertificates(t, true, true) })
	step("cert-manager's API is removed", func() {
		lab.Kubectl(t, p.Product, "delete", "-f", certManagerCRDs(t))
		p.waitCertificates(t, false, true)
	})
	admitted, errs := stop()
	step("kube-prepull is uninstalled where cert-manager is", func() {
		lab.Kubectl(t, p.Product, "apply", "--server-side", "-f", certManagerCRDs(t))
		p.waitCertificates(t, true, true)
		if err := lab.Uninstall(t.Context(), p.Cluster); err != nil {
			t.Fatal(err)
		}
		left, err := p.Kubectl(t.Context(), "get", "certificates,issuers,secrets", "--namespace", lab.System, "--output", "name", "--ignore-not-found")
		if err != nil || left != "" {
			t.Errorf("it leaves %s (%v)", left, err)
		}
	})
	lab.RequireAdmitted(t, admitted, errs, 1000)
}

// closedChart returns a function that installs the chart with another source of certificates. The chart is one whose
// webhooks deny what they cannot be asked about.
func closedChart(t *testing.T, p product) func(certificates string) {
	t.Helper()
	chart := lab.ChartOf(t, lab.Closed)
	return func(certificates string) {
		if err := lab.Helm(t.Context(), p.Cluster, "upgrade", "kube-prepull", chart, "--namespace", lab.System,
			"--reset-then-reuse-values", "--set", "config.certificates="+certificates, "--wait", "--timeout", "3m"); err != nil {
			t.Fatal(err)
		}
	}
}

// certManagerCRDs is the folder of the CRDs that ship in cert-manager's module.
func certManagerCRDs(t *testing.T) string {
	t.Helper()
	list := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/cert-manager/cert-manager")
	list.Dir = lab.Source("e2e/certmanager")
	dir, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(strings.TrimSpace(string(dir)), "deploy", "crds")
}

// waitCertificates waits until every manager serves what cert-manager issued, or what our own CA did, and API servers are
// told to trust no more than the CA of cert-manager if that is used, and our own if it is kept.
func (p product) waitCertificates(t *testing.T, certManager, own bool) {
	t.Helper()
	lab.Eventually(t, fmt.Sprintf("certificates of cert-manager (%v) and our own (%v) to be trusted", certManager, own), func() error {
		var want [][]byte
		signer := "kube-prepull-ca"
		if certManager {
			signer = "kube-prepull-issuer"
			want = append(want, p.secretData(t, signer)[corev1.TLSCertKey])
		}
		if own {
			want = append(want, p.secretData(t, "kube-prepull-ca")[corev1.TLSCertKey])
		}
		if err := p.trustsOnly(t, want); err != nil {
			return err
		}
		for _, manager := range p.Managers(t) {
			leaf, err := servedBy(manager.Status.PodIP + ":9443")
			if err != nil {
				return err
			}
			roots := x509.NewCertPool()
			roots.AppendCertsFromPEM(p.secretData(t, signer)[corev1.TLSCertKey])
			if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: "kube-prepull." + lab.System + ".svc"}); err != nil {
				return fmt.Errorf("manager %s: %w", manager.Name, err)
			}
			if block, _ := pem.Decode(p.secretData(t, "kube-prepull-serving")[corev1.TLSCertKey]); certManager && (block == nil || !bytes.Equal(block.Bytes, leaf.Raw)) {
				return fmt.Errorf("manager %s does not serve what was issued last", manager.Name)
			}
		}
		return nil
	})
}

// trustsOnly returns an error unless each webhook trusts just these CAs.
func (p product) trustsOnly(t *testing.T, want [][]byte) error {
	t.Helper()
	for _, webhook := range p.webhookConfiguration(t).Webhooks {
		bundle := webhook.ClientConfig.CABundle
		for _, ca := range want {
			if len(ca) == 0 || !bytes.Contains(bundle, bytes.TrimSpace(ca)) {
				return fmt.Errorf("webhook %s does not trust a CA", webhook.Name)
			}
		}
		if got := bytes.Count(bundle, []byte("BEGIN CERTIFICATE")); got != len(want) {
			return fmt.Errorf("webhook %s trusts %d CAs, want %d", webhook.Name, got, len(want))
		}
	}
	return nil
}

func (p product) webhookConfiguration(t *testing.T) *admissionv1.MutatingWebhookConfiguration {
	t.Helper()
	configuration, err := p.Client().AdmissionregistrationV1().MutatingWebhookConfigurations().Get(context.Background(), "kube-prepull", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return configuration
}

// injector names who last applied the caBundle.
func (p product) injector(t *testing.T) string {
	t.Helper()
	names := ""
	for _, entry := range p.webhookConfiguration(t).ManagedFields {
		if entry.FieldsV1 != nil && bytes.Contains(entry.FieldsV1.Raw, []byte("f:caBundle")) {
			names += " " + entry.Manager
		}
	}
	return names
}

// secretData is what a Secret of the system holds, nothing if there is none.
func (p product) secretData(t *testing.T, name string) map[string][]byte {
	t.Helper()
	secret, err := p.Client().CoreV1().Secrets(lab.System).Get(context.Background(), name, metav1.GetOptions{})
	if err != nil {
		return nil
	}
	return secret.Data
}

func (p product) deleteSecret(t *testing.T, name string) {
	t.Helper()
	if err := p.Client().CoreV1().Secrets(lab.System).Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}

// waitOther waits until a Secret has another certificate than before.
func (p product) waitOther(t *testing.T, name string, before map[string][]byte) {
	t.Helper()
	lab.Eventually(t, "another certificate in "+name, func() error {
		now := p.secretData(t, name)[corev1.TLSCertKey]
		if len(now) == 0 || bytes.Equal(now, before[corev1.TLSCertKey]) {
			return errors.New("it is none, or the same")
		}
		return nil
	})
}

// servedBy is the certificate that a webhook serves at an address.
func servedBy(address string) (*x509.Certificate, error) {
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}} // the test looks itself
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0], nil
}
