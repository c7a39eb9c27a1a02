package prepull

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	corev1 "k8s.io/api/core/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

func TestMeasure(t *testing.T) {
	a, b := ObjectName("a:1"), ObjectName("b:1")
	s := state{nodes: testNodes(3), images: []v1alpha1.PrepullImage{learnedObject("a:1", 1), learnedObject("b:1", 1), declaredObject("bad", "Bad")}}
	s.daemonSets = makePlan(s, planOptions, noon).write
	s.pods = []*corev1.Pod{
		testPod("node-000", noon, done("install", 0, 1), done(a, 2, 3), done(b, 4, 5)),
		testPod("node-001", noon, done("install", 0, 1), done(a, 2, 3), waits(b, "ErrImagePull", "dial tcp: i/o timeout")),
		testPod("node-002", noon, done("install", 0, 1), waits(a, "PodInitializing", ""), waits(b, "PodInitializing", "")),
	}
	measure(s.images, makePlan(s, planOptions, noon))
	got := map[string]float64{}
	for _, state := range []string{"ready", "pulling", "pending", "pullfailed", "skipped"} {
		got[state] = gaugeValue(t, imagesMetric.WithLabelValues(state))
	}
	for _, state := range []string{"warm", "warming", "failing"} {
		got[state] = gaugeValue(t, nodesMetric.WithLabelValues(state))
	}
	want := map[string]float64{
		"ready": 0, "pulling": 1, "pending": 0, "pullfailed": 1, "skipped": 1, "warm": 1, "warming": 1, "failing": 1,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("gauges (-want +got):\n%s", diff)
	}
}

func gaugeValue(t *testing.T, g prometheus.Gauge) float64 {
	t.Helper()
	var m dto.Metric
	if err := g.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetGauge().GetValue()
}

func TestNewPulls(t *testing.T) {
	a := ObjectName("a:1")
	s := state{nodes: testNodes(2), images: []v1alpha1.PrepullImage{learnedObject("a:1", 1)}}
	s.nodes[1].Status.Images = []corev1.ContainerImage{{Names: []string{"docker.io/library/a:1"}, SizeBytes: 5000}}
	before := makePlan(s, planOptions, noon).classes[0].warmth
	s.pods = []*corev1.Pod{
		testPod("node-000", noon, done("install", 0, 1), done(a, 31, 32)),
		testPod("node-001", noon, done("install", 0, 1), done(a, 2, 3)),
	}
	after := makePlan(s, planOptions, noon).classes
	want := []nodePull{{"linux-amd64", 30 * time.Second, 5000}}
	if diff := cmp.Diff(want, newPulls(map[string]*warmth{"linux-amd64": before}, after), cmp.AllowUnexported(nodePull{})); diff != "" {
		t.Errorf("pulls (-want +got):\n%s", diff)
	}
	if got := newPulls(map[string]*warmth{"linux-amd64": after[0].warmth}, after); got != nil {
		t.Errorf("a pull is counted twice: %v", got)
	}
	if got := newPulls(nil, after); got != nil {
		t.Errorf("pulls from before the start are counted: %v", got)
	}
	measurePulls(map[string]*warmth{"linux-amd64": before}, after)
	if n, seconds := series(pullBytesMetric), series(pullSecondsMetric); n != 1 || seconds != 1 {
		t.Errorf("there are histograms of %d and %d classes, want 1", n, seconds)
	}
	measurePulls(map[string]*warmth{"linux-amd64": after[0].warmth}, nil)
	if n, seconds := series(pullBytesMetric), series(pullSecondsMetric); n != 0 || seconds != 0 {
		t.Errorf("a class that is gone has histograms: %d and %d", n, seconds)
	}
}

func series(c prometheus.Collector) int {
	all := make(chan prometheus.Metric, 100)
	c.Collect(all)
	return len(all)
}
