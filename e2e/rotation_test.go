package e2e

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-prepull/kube-prepull/e2e/images"
)

// TestNoAdmissionFailsWhileTheCAChanges replaces the CA in every way there is, again and again, while Deployments are
// created. The webhook is made to deny what it cannot be asked about, so that a certificate that the API server does not
// trust would be an error.
func TestNoAdmissionFailsWhileTheCAChanges(t *testing.T) {
	t.Parallel()
	p := ownProduct(t, "node-1")
	p.namespace(t, "shop", true)
	image := p.push(t, "shop/app:v1", images.Image{Seed: 161})
	p.deploy(t, "shop", deployment("app", image, 0))
	p.waitState(t, image, "Ready")
	p.waitTrusted(t)
	p.failClosed(t)

	stop := p.admitAllTheTime(t, "shop", image)
	for range 2 {
		p.replaceCA(t, func(old map[string][]byte) map[string][]byte { return endingCA(t, old[corev1.ServiceAccountRootCAKey]) })
		p.replaceCA(t, nil)
		p.replaceCA(t, func(map[string][]byte) map[string][]byte { return endingCA(t, nil) })
		p.replaceCA(t, func(map[string][]byte) map[string][]byte {
			return map[string][]byte{corev1.TLSCertKey: []byte("damaged"), corev1.TLSPrivateKeyKey: nil}
		})
	}
	admitted, errs := stop()
	requireAdmitted(t, admitted, errs, 500)
}

// failClosed lets the API server deny what it cannot ask the webhook about, and gives the webhook more time: what is
// tested here is trust. Nobody reverts it.
func (p *product) failClosed(t *testing.T) {
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

// burstInterval leaves the processors to those whom the admissions are to disturb.
const burstInterval = 200 * time.Millisecond

// admitAllTheTime creates Deployments in dry runs, in bursts: what the API server has connections for at one moment is
// not enough for the next. The function that it returns ends that, and says how many there were and what went wrong.
func (p *product) admitAllTheTime(t *testing.T, namespace, image string) func() (int, []error) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	pace := time.NewTicker(burstInterval)
	t.Cleanup(pace.Stop)
	var mu sync.Mutex
	var errs []error
	admitted := 0
	admit := func() {
		start := time.Now()
		_, err := p.Client().AppsV1().Deployments(namespace).Create(context.Background(), deployment("dry", image, 0), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", start.Format(time.StampMilli), err))
		} else {
			admitted++
		}
	}
	var all sync.WaitGroup
	all.Go(func() {
		for round := 0; ctx.Err() == nil; round++ {
			var burst sync.WaitGroup
			for range 1 + 4*(round%8) {
				burst.Go(admit)
			}
			burst.Wait()
			<-pace.C
		}
	})
	return func() (int, []error) {
		stop()
		all.Wait()
		return admitted, errs
	}
}

// requireAdmitted holds against the test what went wrong, and that there were too few admissions to tell.
func requireAdmitted(t *testing.T, admitted int, errs []error, least int) {
	t.Helper()
	t.Logf("%d Deployments were admitted meanwhile", admitted)
	for _, err := range errs[:min(10, len(errs))] {
		t.Error(err)
	}
	if len(errs) > 10 {
		t.Logf("and %d more", len(errs)-10)
	}
	if admitted < least {
		t.Errorf("only %d Deployments were admitted meanwhile, want %d", admitted, least)
	}
}

// replaceCA puts other data in the CA's Secret, or deletes it, and waits until all is settled: the Secret holds another
// CA than before and than what was put there, and the API server trusts that one alone or with predecessors.
func (p *product) replaceCA(t *testing.T, data func(old map[string][]byte) map[string][]byte) {
	t.Helper()
	secrets := p.Client().CoreV1().Secrets(system)
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
	eventually(t, time.Minute, "another CA", func() error {
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
	p.waitTrusted(t)
}

// waitTrusted waits until the API server is told to trust the CA that signs, and every manager serves what that CA or a
// predecessor that it names has signed.
func (p *product) waitTrusted(t *testing.T) {
	t.Helper()
	eventually(t, 2*time.Minute, "the CA to be trusted", func() error {
		secret, err := p.Client().CoreV1().Secrets(system).Get(t.Context(), "kube-prepull-ca", metav1.GetOptions{})
		if err != nil {
			return err
		}
		configuration, err := p.Client().AdmissionregistrationV1().MutatingWebhookConfigurations().Get(t.Context(), "kube-prepull", metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, webhook := range configuration.Webhooks {
			if !bytes.Contains(webhook.ClientConfig.CABundle, secret.Data[corev1.TLSCertKey]) {
				return fmt.Errorf("webhook %s does not trust it", webhook.Name)
			}
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(secret.Data[corev1.ServiceAccountRootCAKey])
		for _, manager := range p.managers(t) {
			if err := serves(manager.Status.PodIP+":9443", roots); err != nil {
				return fmt.Errorf("manager %s: %w", manager.Name, err)
			}
		}
		return nil
	})
}

// serves returns an error unless a webhook is at an address, under its Service's name and with a certificate of these CAs.
func serves(address string, roots *x509.CertPool) error {
	dialer := &tls.Dialer{
		NetDialer: &net.Dialer{Timeout: 5 * time.Second},
		Config:    &tls.Config{RootCAs: roots, ServerName: "kube-prepull." + system + ".svc"},
	}
	conn, err := dialer.Dial("tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
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
	certificate := []byte(encodePEM("CERTIFICATE", der))
	return map[string][]byte{
		corev1.TLSCertKey:              certificate,
		corev1.TLSPrivateKeyKey:        []byte(encodePEM("PRIVATE KEY", key)),
		corev1.ServiceAccountRootCAKey: append(certificate, predecessors...),
	}
}
