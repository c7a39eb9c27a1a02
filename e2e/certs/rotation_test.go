package certs

import (
	"github.com/kube-prepull/kube-prepull/e2e/lab"

	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"math/big"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-prepull/kube-prepull/e2e/cluster"
	"github.com/kube-prepull/kube-prepull/e2e/images"
)

// TestNoAdmissionFailsWhileTheCAChanges replaces the CA in every way there is, again and again, while Deployments are
// created. The webhook is made to deny what it cannot be asked about, so that a certificate that the API server does not
// trust would be an error.
func TestNoAdmissionFailsWhileTheCAChanges(t *testing.T) {
	t.Parallel()
	p := product{lab.OwnAsShipped(t, cluster.Node{Name: "node-1"})}
	p.Namespace(t, "shop", true)
	image := p.Push(t, "shop/app:v1", images.Image{Seed: 161})
	p.Deploy(t, "shop", lab.Deployment("app", image, 0))
	p.WaitState(t, image, "Ready")
	p.WaitTrusted(t)
	p.failClosed(t)

	stop := p.AdmitAllTheTime(t, "shop", image)
	for range 2 {
		p.replaceCA(t, func(old map[string][]byte) map[string][]byte { return endingCA(t, old[corev1.ServiceAccountRootCAKey]) })
		p.replaceCA(t, nil)
		p.replaceCA(t, func(map[string][]byte) map[string][]byte { return endingCA(t, nil) })
		p.replaceCA(t, func(map[string][]byte) map[string][]byte {
			return map[string][]byte{corev1.TLSCertKey: []byte("damaged"), corev1.TLSPrivateKeyKey: nil}
		})
	}
	admitted, errs := stop()
	lab.RequireAdmitted(t, admitted, errs, 500)
}

// failClosed lets the API server deny what it cannot ask the webhook about, and gives the webhook more time: what is
// tested here is trust. Nobody reverts it.
func (p product) failClosed(t *testing.T) {
	t.Helper()
	configurations := p.Client().AdmissionregistrationV1().MutatingWebhookConfigurations()
	configuration, err := configurations.Get(t.Context(), "kube-prepull", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	type change map[string]any
	var webhooks []change
	for _, webhook := range configuration.Webhooks {
		webhooks = append(webhooks, change{"name": webhook.Name, "failurePolicy": "Fail", "timeoutSeconds": 10})
	}
	patch, err := json.Marshal(change{"webhooks": webhooks})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := configurations.Patch(t.Context(), "kube-prepull", types.StrategicMergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// replaceCA puts other data in the CA's Secret, or deletes it, and waits until all is settled: the Secret holds another
// CA than before and than what was put there, and the API server trusts that one alone or with predecessors.
func (p product) replaceCA(t *testing.T, data func(old map[string][]byte) map[string][]byte) {
	t.Helper()
	secrets := p.Client().CoreV1().Secrets(lab.System)
	secret, err := secrets.Get(t.Context(), "kube-prepull-ca", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	gone := [][]byte{secret.Data[corev1.TLSCertKey]}
	if data == nil {
		err = secrets.Delete(t.Context(), secret.Name, metav1.DeleteOptions{})
	} else {
		secret.Data = data(secret.Data)
		gone = append(gone, secret.Data[corev1.TLSCertKey])
		_, err = secrets.Update(t.Context(), secret, metav1.UpdateOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
	lab.Eventually(t, "another CA", func() error {
		now, err := secrets.Get(t.Context(), "kube-prepull-ca", metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, old := range gone {
			if bytes.Equal(old, now.Data[corev1.TLSCertKey]) {
				return fmt.Errorf("it is the same")
			}
		}
		return nil
	})
	p.WaitTrusted(t)
}

// endingCA is what the CA's Secret holds with a CA of which an hour of two days is left, before others that are trusted.
func endingCA(t *testing.T, predecessors []byte) map[string][]byte {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "kube-prepull-ca"},
		NotBefore: time.Now().Add(-47 * time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	certificate := []byte(lab.EncodePEM("CERTIFICATE", der))
	return map[string][]byte{
		corev1.TLSCertKey:              certificate,
		corev1.TLSPrivateKeyKey:        []byte(lab.EncodePEM("PRIVATE KEY", key)),
		corev1.ServiceAccountRootCAKey: append(certificate, predecessors...),
	}
}
