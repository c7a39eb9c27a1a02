package certs

import (
	"github.com/kube-prepull/kube-prepull/e2e/lab"

	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/e2e/cluster"
	"github.com/kube-prepull/kube-prepull/e2e/images"
	"github.com/kube-prepull/kube-prepull/e2e/registry"
)

// TestACertificateOfOnesOwn is served from a Secret that somebody else keeps, is trusted because the chart says so, and
// changes without a restart. In the end the managers take their own again, and serve metrics to everybody.
func TestACertificateOfOnesOwn(t *testing.T) {
	t.Parallel()
	// By itself a kubelet renews what it has mounted after a minute or more.
	renews := map[string]any{"syncFrequency": "5s"}
	p := product{lab.OwnAsShipped(t, cluster.Node{Name: "node-1", Kubelet: renews})}
	host := "kube-prepull." + lab.System + ".svc"
	first, firstKey := lab.SelfSigned(t, host)
	second, secondKey := lab.SelfSigned(t, host)
	secrets := p.Client().CoreV1().Secrets(lab.System)
	secret, err := secrets.Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "own"}, Type: corev1.SecretTypeTLS,
		StringData: map[string]string{corev1.TLSCertKey: first, corev1.TLSPrivateKeyKey: firstKey},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	bundle := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(bundle, []byte(first+second), 0o600); err != nil {
		t.Fatal(err)
	}
	// The managers have written the caBundle until now.
	again := p.MayBeRefused() // the managers before them need what is taken away
	p.Configure(t, "--set", "config.certificates=directory", "--set", "certificate.secretName=own", "--set-file", "certificate.caBundle="+bundle, "--force-conflicts")
	p.waitServed(t, first)
	again()
	before := p.Managers(t)

	// A copy of a pull secret is made without the permission to make a CA, too.
	p.Namespace(t, "shop", true)
	p.Registry.Private("shop/*", registry.Auth{User: "clerk", Password: "planted-5"})
	p.PullSecret(t, "shop", "key", corev1.SecretTypeDockerConfigJson, "planted-5")
	image := p.Push(t, "shop/app:v1", images.Image{Seed: 172})
	d := lab.Deployment("app", image, 0)
	d.Spec.Template.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "key"}}
	p.Deploy(t, "shop", d)
	p.WaitState(t, image, "Ready")
	if p.Admissions(t) == 0 {
		t.Error("no admission reached the managers")
	}

	secret.Data = map[string][]byte{corev1.TLSCertKey: []byte(second), corev1.TLSPrivateKeyKey: []byte(secondKey)}
	if _, err := secrets.Update(t.Context(), secret, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	p.waitServed(t, second)
	for i, manager := range p.Managers(t) {
		if manager.Name != before[i].Name || manager.Status.ContainerStatuses[0].RestartCount > 0 {
			t.Errorf("manager %s is a new one, or was restarted", manager.Name)
		}
	}
	// The leader before them may have added its own CA on its way out.
	config, err := p.Client().AdmissionregistrationV1().MutatingWebhookConfigurations().Get(t.Context(), "kube-prepull", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range config.Webhooks {
		for _, trusted := range []string{first, second} {
			if !strings.Contains(string(w.ClientConfig.CABundle), strings.TrimSpace(trusted)) {
				t.Errorf("the managers changed what webhook %s trusts", w.Name)
			}
		}
	}
	if err := p.CheckRelease(t); err != nil {
		t.Errorf("helm test: %v", err)
	}
	p.Configure(t, "--set", "config.certificates=auto", "--set", "certificate.secretName=", "--set", "certificate.caBundle=", "--set", "config.metricsAuthentication=false", "--force-conflicts")
	p.waitCertificates(t, false, true)
	if err := p.CheckRelease(t); err != nil {
		t.Errorf("helm test with metrics for everybody: %v", err)
	}
	p.CheckPlainMetrics(t)
}

// waitServed waits until every manager serves a certificate.
func (p product) waitServed(t *testing.T, certificate string) {
	t.Helper()
	lab.Eventually(t, "the certificate to be served", func() error {
		for _, manager := range p.Managers(t) {
			leaf, err := servedBy(manager.Status.PodIP + ":9443")
			if err != nil {
				return err
			}
			if lab.EncodePEM("CERTIFICATE", leaf.Raw) != certificate {
				return fmt.Errorf("manager %s serves one of %s", manager.Name, leaf.Issuer.CommonName)
			}
		}
		return nil
	})
}
