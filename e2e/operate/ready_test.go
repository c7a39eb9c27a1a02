package operate

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/e2e/cluster"
	"github.com/kube-prepull/kube-prepull/e2e/lab"
)

// TestAManagerIsReadyOnceItServes runs a manager on this machine against a control plane with the chart. The CA's Secret
// is damaged and somebody else leads, so that there is no certificate until the test lets the manager lead. At no time
// is it ready without serving. The API server cannot send lists through watches, as older ones.
func TestAManagerIsReadyOnceItServes(t *testing.T) {
	t.Parallel()
	p := product{&lab.Product{Cluster: lab.UpCluster(t, cluster.Options{ControlPlaneOnly: true, APIServerFlags: []string{"--feature-gates=WatchList=false"}})}}
	if err := lab.Install(t.Context(), p.Cluster, "ready.invalid", "--wait=hookOnly"); err != nil {
		t.Fatal(err)
	}
	p.damageCA(t)
	p.holdLease(t)
	health, webhook := unusedAddress(t), unusedAddress(t)
	if status, _ := p.readyz(t, health); status != 0 {
		t.Fatalf("something answers at %s before the manager is started: %d", health, status)
	}
	p.startManager(t, health, webhook)

	// Without a certificate the check of the webhook fails too, whether it listens or not.
	lab.Eventually(t, "the manager to say that it has no certificate", func() error {
		status, body := p.readyz(t, health)
		if status == http.StatusOK {
			t.Fatal("it is ready without a certificate")
		}
		if !strings.Contains(body, "[-]certificate failed") || !strings.Contains(body, "[-]webhook failed") {
			return fmt.Errorf("it says %d %q", status, body)
		}
		return nil
	})
	lab.Eventually(t, "the webhook to listen", func() error {
		if status, _ := p.readyz(t, health); status != http.StatusInternalServerError {
			t.Fatalf("while the webhook has no certificate, readyz is %d", status)
		}
		conn, err := net.Dial("tcp", webhook)
		if err != nil {
			return err
		}
		return conn.Close()
	})
	if status, body := p.readyz(t, health); status != http.StatusInternalServerError {
		t.Fatalf("while the webhook listens without a certificate, readyz is %d %q", status, body)
	}
	if err := lab.Serves(webhook, x509.NewCertPool()); err == nil {
		t.Fatal("the webhook shakes hands without a certificate")
	}

	if err := p.Client().CoordinationV1().Leases(lab.System).Delete(t.Context(), "kube-prepull", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	lab.Eventually(t, "the manager to be ready", func() error {
		if status, body := p.readyz(t, health); status != http.StatusOK {
			return fmt.Errorf("it says %d %q", status, body)
		}
		return nil
	})
	secret, err := p.Client().CoreV1().Secrets(lab.System).Get(t.Context(), "kube-prepull-ca", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(secret.Data[corev1.ServiceAccountRootCAKey])
	if err := lab.Serves(webhook, roots); err != nil {
		t.Errorf("it is ready, and the webhook does not serve with a certificate of the CA: %v", err)
	}
}

// readyz is what a manager answers, with each of its checks; 0 if nobody does.
func (p product) readyz(t *testing.T, address string) (int, string) {
	t.Helper()
	client := &http.Client{Timeout: 5 * time.Second}
	response, err := client.Get("http://" + address + "/readyz?verbose")
	if errors.Is(err, syscall.ECONNREFUSED) {
		return 0, ""
	}
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

// damageCA makes the CA's Secret so that no replica has a certificate before a leader has replaced it.
func (p product) damageCA(t *testing.T) {
	t.Helper()
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "kube-prepull-ca"}, Type: corev1.SecretTypeTLS,
		Data: map[string][]byte{corev1.TLSCertKey: []byte("damaged"), corev1.TLSPrivateKeyKey: nil},
	}
	if _, err := p.Client().CoreV1().Secrets(lab.System).Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// holdLease keeps managers from leading for an hour.
func (p product) holdLease(t *testing.T) {
	t.Helper()
	holder, seconds, now := "somebody-else", int32(3600), metav1.NowMicro()
	lease := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: "kube-prepull"},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: &seconds, AcquireTime: &now, RenewTime: &now},
	}
	if _, err := p.Client().CoordinationV1().Leases(lab.System).Create(t.Context(), lease, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// startManager runs the manager with the chart's configuration, but at other addresses, and as an account with the
// chart's roles, until the end of the test.
func (p product) startManager(t *testing.T, health, webhook string) {
	t.Helper()
	dir := t.TempDir()
	binary, err := lab.Command("cmd/kube-prepull")
	if err != nil {
		t.Fatal(err)
	}
	installed, err := p.Client().CoreV1().ConfigMaps(lab.System).Get(t.Context(), "kube-prepull", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(webhook)
	if err != nil {
		t.Fatal(err)
	}
	configuration := regexp.MustCompile(`(?m)^(webhookPort|metricsAddress|healthAddress):.*\n?`).ReplaceAllString(installed.Data["config.yaml"], "")
	configuration += fmt.Sprintf("\nwebhookPort: %s\nmetricsAddress: \"0\"\nhealthAddress: %s\n", port, health)
	file := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(file, []byte(configuration), 0o644); err != nil {
		t.Fatal(err)
	}
	output, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	cmd := exec.Command(binary, "--config="+file, "--kubeconfig="+p.actAs(t, lab.System, "kube-prepull"), "--namespace="+lab.System)
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill() //nolint:errcheck // it may have ended
		cmd.Wait()         //nolint:errcheck
		if log, err := os.ReadFile(output.Name()); t.Failed() && err == nil {
			t.Logf("the manager's log:\n%s", log)
		}
	})
}

// unusedAddress is an address of this machine that nobody listens at.
func unusedAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}
