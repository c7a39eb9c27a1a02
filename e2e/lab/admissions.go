package lab

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Kubectl runs kubectl as the administrator, and fails the test where that fails.
func Kubectl(t *testing.T, p *Product, args ...string) {
	t.Helper()
	if _, err := p.Kubectl(t.Context(), args...); err != nil {
		t.Fatal(err)
	}
}

// burstInterval leaves the processors to those whom the admissions are to disturb.
const burstInterval = 500 * time.Millisecond

// AdmitAllTheTime creates Deployments in dry runs, in bursts: what the API server has connections for at one moment is
// not enough for the next. The function that it returns ends that, and says how many there were and what went wrong.
func (p *Product) AdmitAllTheTime(t *testing.T, namespace, image string) func() (int, []error) {
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
		_, err := p.Client().AppsV1().Deployments(namespace).Create(context.Background(), Deployment("dry", image, 0), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
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

// RequireAdmitted holds against the test what went wrong, and that there were too few admissions to tell.
func RequireAdmitted(t *testing.T, admitted int, errs []error, least int) {
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

// WaitTrusted waits until the API server is told to trust the CA that signs, and every manager serves what that CA or a
// predecessor that it names has signed.
func (p *Product) WaitTrusted(t *testing.T) {
	t.Helper()
	Eventually(t, "the CA to be trusted", func() error {
		secret, err := p.Client().CoreV1().Secrets(System).Get(t.Context(), "kube-prepull-ca", metav1.GetOptions{})
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
		for _, manager := range p.Managers(t) {
			if err := Serves(manager.Status.PodIP+":9443", roots); err != nil {
				return fmt.Errorf("manager %s: %w", manager.Name, err)
			}
		}
		return nil
	})
}

// Serves returns an error unless a webhook is at an address, under its Service's name and with a certificate of these CAs.
func Serves(address string, roots *x509.CertPool) error {
	dialer := &tls.Dialer{
		NetDialer: &net.Dialer{Timeout: 5 * time.Second},
		Config:    &tls.Config{RootCAs: roots, ServerName: "kube-prepull." + System + ".svc"},
	}
	conn, err := dialer.Dial("tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}
