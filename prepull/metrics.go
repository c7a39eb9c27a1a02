package prepull

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// The reconciler's metrics. None has an image or a node in a label: there may be thousands of both.
var (
	imagesMetric = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "kube_prepull_images",
		Help: "PrepullImages by state: ready, pulling, pending, pullfailed or skipped.",
	}, []string{"state"})
	nodesMetric = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "kube_prepull_nodes",
		Help: "Nodes that can pull, by state: warm (they have their whole list), warming or failing.",
	}, []string{"state"})
	revisionsMetric = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "kube_prepull_daemonset_revisions_total",
		Help: "Prepull DaemonSets that were created or changed.",
	})
	quarantinesMetric = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "kube_prepull_quarantines_total",
		Help: "Images that left the list of a node class, or went to its end, because they could not be pulled.",
	})
	pullSecondsMetric = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "kube_prepull_pull_seconds",
		Help:    "How long a node took for an image that it did not have, in whole seconds.",
		Buckets: []float64{1, 2, 5, 10, 20, 40, 80, 160, 320, 640, 1280},
	})
	releasesMetric = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "kube_prepull_gate_releases_total",
		Help: "Nodes that lost the taint of the gate, by reason: warm, empty (nothing to pull), failing (what is missing fails) or deadline.",
	}, []string{"reason"})
	heldSecondsMetric = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "kube_prepull_gate_held_seconds",
		Help:    "How long a node had the taint of the gate, from the creation of the node.",
		Buckets: []float64{5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600},
	})
)

func init() {
	metrics.Registry.MustRegister(imagesMetric, nodesMetric, revisionsMetric, quarantinesMetric, pullSecondsMetric, releasesMetric, heldSecondsMetric)
	for _, reason := range []releaseReason{releaseWarm, releaseEmpty, releaseFailing, releaseDeadline} {
		releasesMetric.WithLabelValues(string(reason))
	}
}

// measure sets the gauges to what was observed and planned.
func measure(images []v1alpha1.PrepullImage, p plan) {
	states := map[string]int{stateReady: 0, statePulling: 0, statePending: 0, stateFailed: 0, stateSkipped: 0}
	changes := map[string]string{}
	for _, c := range p.statuses {
		changes[c.name] = c.status.State
	}
	for i := range images {
		state, changed := changes[images[i].Name]
		if !changed {
			state = images[i].Status.State
		}
		state, _, _ = strings.Cut(state, ":")
		states[state]++
	}
	for state, n := range states {
		imagesMetric.WithLabelValues(strings.ToLower(state)).Set(float64(n))
	}
	var warm, warming, failing int
	for _, cp := range p.classes {
		for _, n := range cp.waiting {
			switch {
			case cp.failing(n.Name):
				failing++
			case cp.warm(n.Name):
				warm++
			default:
				warming++
			}
		}
	}
	nodesMetric.WithLabelValues("warm").Set(float64(warm))
	nodesMetric.WithLabelValues("warming").Set(float64(warming))
	nodesMetric.WithLabelValues("failing").Set(float64(failing))
}

// warm tells whether a node has all images of its list.
func (cp *classPlan) warm(node string) bool {
	for _, e := range cp.list {
		if !cp.warmth.images[e.name].has(node) {
			return false
		}
	}
	return true
}

// failing tells whether something holds up a node's list.
func (cp *classPlan) failing(node string) bool {
	if _, broken := cp.warmth.broken[node]; broken {
		return true
	}
	for _, e := range cp.list {
		if _, failed := cp.warmth.images[e.name].failed[node]; failed {
			return true
		}
	}
	return false
}

// newPulls are the pulls that ended between two plans, on nodes that did not have the image before. A class that is
// new tells nothing: its pulls may have ended long ago.
func newPulls(before map[string]*warmth, after []*classPlan) []time.Duration {
	var took []time.Duration
	for _, cp := range after {
		was := before[cp.name]
		if was == nil {
			continue
		}
		for name, w := range cp.warmth.images {
			old := was.images[name]
			if old == nil {
				old = &imageWarmth{}
			}
			if len(w.ran) == 0 {
				continue
			}
			for node := range w.at {
				d, ran := w.pulled(node)
				if _, before := old.pulled(node); ran && !before && !old.lists(node) {
					took = append(took, d)
				}
			}
		}
	}
	return took
}
