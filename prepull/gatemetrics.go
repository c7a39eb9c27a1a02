package prepull

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/kube-prepull/kube-prepull/prepull/plan"
)

// gateMetrics are what the gate does with nodes.
type gateMetrics struct {
	releases    *prometheus.CounterVec
	heldSeconds prometheus.Histogram
}

func newGateMetrics(registry prometheus.Registerer) (*gateMetrics, error) {
	m := &gateMetrics{
		releases: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kube_prepull_gate_releases_total",
			Help: "Nodes that lost the taint of the gate, by reason: warm, empty (nothing to pull), failing (what is missing fails) or deadline.",
		}, []string{"reason"}),
		heldSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "kube_prepull_gate_held_seconds",
			Help:    "How long a node had the taint of the gate, from the creation of the node.",
			Buckets: []float64{5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600},
		}),
	}
	for _, reason := range []plan.ReleaseReason{plan.ReleaseWarm, plan.ReleaseEmpty, plan.ReleaseFailing, plan.ReleaseDeadline} {
		m.releases.WithLabelValues(string(reason)) // there from the start, with 0
	}
	return m, register(registry, m.releases, m.heldSeconds)
}
