package lab

import (
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-prepull/kube-prepull/e2e/cluster"
)

// scrapeTokens are for metrics, one for each cluster.
var scrapeTokens struct {
	sync.Mutex
	of map[*cluster.Cluster]string
}

// ScrapeToken is a token for the metrics of the managers.
func (p *Product) ScrapeToken(t *testing.T) string {
	t.Helper()
	scrapeTokens.Lock()
	defer scrapeTokens.Unlock()
	if token, ok := scrapeTokens.of[p.Cluster]; ok {
		return token
	}
	token, err := ScrapeToken(t.Context(), p.Cluster)
	if err != nil {
		t.Fatal(err)
	}
	if scrapeTokens.of == nil {
		scrapeTokens.of = map[*cluster.Cluster]string{}
	}
	scrapeTokens.of[p.Cluster] = token
	return token
}

// Metric is the sum of the series whose text begins with some words, as a manager serves them.
func (p *Product) Metric(t *testing.T, manager corev1.Pod, series string) float64 {
	t.Helper()
	value, err := Metric(t.Context(), p.Cluster, net.JoinHostPort(manager.Status.PodIP, "8080"), p.ScrapeToken(t), series)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// Metrics are all that a manager serves.
func (p *Product) Metrics(t *testing.T, manager corev1.Pod) string {
	t.Helper()
	text, err := Metrics(t.Context(), p.Cluster, net.JoinHostPort(manager.Status.PodIP, "8080"), p.ScrapeToken(t))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// CheckPlainMetrics reads metrics as anybody can where that is configured.
func (p *Product) CheckPlainMetrics(t *testing.T) {
	t.Helper()
	response, err := http.Get("http://" + net.JoinHostPort(p.Managers(t)[0].Status.PodIP, "8080") + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); err != nil || !strings.Contains(string(body), "\nkube_prepull_") {
		t.Errorf("plain HTTP gets %s (%v)", response.Status, err)
	}
}

// CheckRelease runs helm test.
func (p *Product) CheckRelease(t *testing.T) error {
	t.Helper()
	return Helm(t.Context(), p.Cluster, "test", "kube-prepull", "--namespace", System, "--timeout", "2m", "--logs")
}
