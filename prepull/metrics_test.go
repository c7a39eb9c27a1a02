package prepull

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	corev1 "k8s.io/api/core/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/plan"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
	"github.com/kube-prepull/kube-prepull/prepull/warmth"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

func testMetrics(t *testing.T) *metrics {
	t.Helper()
	m, err := newMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func testGateMetrics(t *testing.T) *gateMetrics {
	t.Helper()
	m, err := newGateMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestMeasure(t *testing.T) {
	a, b := workload.ObjectName("a:1"), workload.ObjectName("b:1")
	s := plan.State{Nodes: prepulltest.Nodes(3), Images: []v1alpha1.PrepullImage{prepulltest.Learned("a:1", 1), prepulltest.Learned("b:1", 1), prepulltest.Declared("bad", "Bad")}}
	s.DaemonSets = plan.Make(s, planOptions, prepulltest.Noon).Roll
	s.Pods = []*corev1.Pod{
		prepulltest.Pod("node-000", prepulltest.Noon, prepulltest.Done("install", 0, 1), prepulltest.Done(a, 2, 3), prepulltest.Done(b, 4, 5)),
		prepulltest.Pod("node-001", prepulltest.Noon, prepulltest.Done("install", 0, 1), prepulltest.Done(a, 2, 3), prepulltest.Waits(b, "ErrImagePull", "dial tcp: i/o timeout")),
		prepulltest.Pod("node-002", prepulltest.Noon, prepulltest.Done("install", 0, 1), prepulltest.Waits(a, "PodInitializing", ""), prepulltest.Waits(b, "PodInitializing", "")),
	}
	m := testMetrics(t)
	m.measure(s.Images, plan.Make(s, planOptions, prepulltest.Noon))
	got := map[string]float64{}
	for _, state := range []string{"ready", "pulling", "pending", "pullfailed", "skipped"} {
		got[state] = gaugeValue(t, m.images.WithLabelValues(state))
	}
	for _, state := range []string{"complete", "pulling", "failing"} {
		got["nodes "+state] = gaugeValue(t, m.nodes.WithLabelValues(state))
	}
	want := map[string]float64{
		"ready": 0, "pulling": 1, "pending": 0, "pullfailed": 1, "skipped": 1, "nodes complete": 1, "nodes pulling": 1, "nodes failing": 1,
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
	a := workload.ObjectName("a:1")
	s := plan.State{Nodes: prepulltest.Nodes(2), Images: []v1alpha1.PrepullImage{prepulltest.Learned("a:1", 1)}}
	s.Nodes[1].Status.Images = []corev1.ContainerImage{{Names: []string{"docker.io/library/a:1"}, SizeBytes: 5000}}
	before := plan.Make(s, planOptions, prepulltest.Noon).Classes[0].Warmth
	s.Pods = []*corev1.Pod{
		prepulltest.Pod("node-000", prepulltest.Noon, prepulltest.Done("install", 0, 1), prepulltest.Done(a, 31, 32)),
		prepulltest.Pod("node-001", prepulltest.Noon, prepulltest.Done("install", 0, 1), prepulltest.Done(a, 2, 3)),
	}
	after := plan.Make(s, planOptions, prepulltest.Noon).Classes
	want := []nodePull{{"linux-amd64", 30 * time.Second, 5000}}
	if diff := cmp.Diff(want, newPulls(map[string]*warmth.Warmth{"linux-amd64": before}, after), cmp.AllowUnexported(nodePull{})); diff != "" {
		t.Errorf("pulls (-want +got):\n%s", diff)
	}
	if got := newPulls(map[string]*warmth.Warmth{"linux-amd64": after[0].Warmth}, after); got != nil {
		t.Errorf("a pull is counted twice: %v", got)
	}
	if got := newPulls(nil, after); got != nil {
		t.Errorf("pulls from before the start are counted: %v", got)
	}
	m := testMetrics(t)
	m.measurePulls(map[string]*warmth.Warmth{"linux-amd64": before}, after)
	if n, seconds := series(m.pullBytes), series(m.pullSeconds); n != 1 || seconds != 1 {
		t.Errorf("there are histograms of %d and %d classes, want 1", n, seconds)
	}
	m.measurePulls(map[string]*warmth.Warmth{"linux-amd64": after[0].Warmth}, nil)
	if n, seconds := series(m.pullBytes), series(m.pullSeconds); n != 0 || seconds != 0 {
		t.Errorf("a class that is gone has histograms: %d and %d", n, seconds)
	}
}

func series(c prometheus.Collector) int {
	all := make(chan prometheus.Metric, 100)
	c.Collect(all)
	return len(all)
}
