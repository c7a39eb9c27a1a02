package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/healthz"

	"github.com/kube-prepull/kube-prepull/api/clock"
	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

func TestHealth(t *testing.T) {
	t.Parallel()
	starting, notYet, ready := newHealth(), newHealth(), newHealth()
	fails := healthz.Checker(func(*http.Request) error { return errors.New("not yet") })
	notYet.readyIf(map[string]healthz.Checker{"fine": healthz.Ping, "webhook": fails})
	ready.readyIf(map[string]healthz.Checker{"fine": healthz.Ping})
	for _, test := range []struct {
		name   string
		health *health
		want   map[string]int
	}{
		{"starting", starting, map[string]int{"/healthz": 200, "/readyz": 500, "/readyz/started": 500}},
		{"not ready", notYet, map[string]int{
			"/healthz": 200, "/healthz/alive": 200, "/readyz": 500, "/readyz/fine": 200, "/readyz/webhook": 500, "/readyz?verbose": 500, "/": 404, "/metrics": 404,
		}},
		{"ready", ready, map[string]int{"/healthz": 200, "/readyz": 200, "/readyz/started": 404}},
	} {
		for path, want := range test.want {
			w := httptest.NewRecorder()
			test.health.mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
			if w.Code != want {
				t.Errorf("%s: %s answers %d, want %d", test.name, path, w.Code, want)
			}
		}
	}
}

// A manager asks what is served and for each of its permissions before it goes on. The API server may take its time for that.
func TestHealthIsServedBeforeAllElse(t *testing.T) {
	asked, answer := make(chan struct{}, 1), make(chan struct{})
	answers := sync.OnceFunc(func() { close(answer) })
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		select {
		case asked <- struct{}{}:
		default:
		}
		<-answer
		w.WriteHeader(http.StatusForbidden)
	}))
	defer api.Close()
	defer answers()
	health, dir := unused(t), t.TempDir()
	_, webhookPort, _ := net.SplitHostPort(unused(t))
	t.Setenv("KUBECONFIG", filepath.Join(dir, "kubeconfig"))
	for file, content := range map[string]string{
		"kubeconfig": fmt.Sprintf(`{"clusters": [{"name": "a", "cluster": {"server": %q}}], "contexts": [{"name": "a", "context": {"cluster": "a"}}], "current-context": "a"}`, api.URL),
		"config":     fmt.Sprintf("apiVersion: kube-prepull.io/v1alpha1\nkind: Configuration\nnoopImage: noop\nhealthAddress: %s\nwebhookPort: %s\n", health, webhookPort),
	} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ended := make(chan error)
	go func() {
		ended <- run(t.Context(), options{config: filepath.Join(dir, "config"), namespace: "infra"}, 1)
	}()

	<-asked
	for path, want := range map[string]int{"/healthz": http.StatusOK, "/readyz": http.StatusInternalServerError} {
		response, err := http.Get("http://" + health + path)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("while it starts %s answers %d, want %d", path, response.StatusCode, want)
		}
	}
	answers()
	if err := <-ended; err == nil {
		t.Error("it ends without an error")
	}
	if _, err := http.Get("http://" + health + "/healthz"); err == nil {
		t.Error("it answers after its end")
	}
}

// unused is an address that nobody listens at.
func unused(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestReachable(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(http.NotFoundHandler())
	port := server.Listener.Addr().(*net.TCPAddr).Port
	request := httptest.NewRequest(http.MethodGet, "/readyz", nil)
	if err := reachable(port)(request); err != nil {
		t.Error(err)
	}
	server.Close()
	if err := reachable(port)(request); err == nil {
		t.Error("no error without a server")
	}
}

// Who is slow is not dead. What hangs is restarted all the same, in minutes.
func TestTheKubeletIsPatient(t *testing.T) {
	t.Parallel()
	var manager appsv1.Deployment
	find(t, installYAML(t), "Deployment", v1alpha1.Name, &manager)
	container := manager.Spec.Template.Spec.Containers[0]
	if seconds(container.ReadinessProbe.TimeoutSeconds) <= selfTime {
		t.Errorf("the manager waits %s for itself, the kubelet %d s for it", selfTime, container.ReadinessProbe.TimeoutSeconds)
	}
	for name, probe := range map[string]*corev1.Probe{"startup": container.StartupProbe, "liveness": container.LivenessProbe} {
		path := probe.HTTPGet.Path
		refused, hanging := seconds(probe.PeriodSeconds*probe.FailureThreshold), seconds(max(probe.PeriodSeconds, probe.TimeoutSeconds)*probe.FailureThreshold)
		if path != "/healthz" || seconds(probe.TimeoutSeconds) < 5*time.Second || refused < 2*time.Minute || hanging > 10*time.Minute {
			t.Errorf("%s: %s is given %d s, and %s to %s in all", name, path, probe.TimeoutSeconds, refused, hanging)
		}
	}
}

func seconds(n int32) time.Duration { return time.Duration(n) * time.Second }

// The lease outlasts a node without processors for a while, and a dead leader is replaced in the time that is documented.
func TestTheLeaseIsAsLongAsDocumented(t *testing.T) {
	t.Parallel()
	if renewDeadline < 15*time.Second || leaseDuration < renewDeadline*3/2 {
		t.Errorf("the lease is for %s, and a leader gives up after %s", leaseDuration, renewDeadline)
	}
	replaced := leaseDuration + 2*clock.Production().LeaseRetry
	if replaced >= 40*time.Second {
		t.Errorf("a dead leader is replaced after %s, when its node is known to be lost", replaced)
	}
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	said := regexp.MustCompile(`within (\d+) seconds after a kill`).FindStringSubmatch(string(text))
	if said == nil || said[1] != fmt.Sprint(replaced.Seconds()) {
		t.Errorf("a dead leader is replaced after %s, documented is %q", replaced, said)
	}
}
