package prepull

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/plan"
	"github.com/kube-prepull/kube-prepull/prepull/warmth"
)

// metrics are what is on the nodes. None has an image, a node or a namespace in a label: there
// may be thousands of each.
type metrics struct {
	images      *prometheus.GaugeVec
	nodes       *prometheus.GaugeVec
	revisions   prometheus.Counter
	quarantines prometheus.Counter
	pullSeconds *prometheus.HistogramVec
	pullBytes   *prometheus.HistogramVec
	timeToWarm  prometheus.Histogram
}

func newMetrics(registry prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		images: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "kube_prepull_images",
			Help: "PrepullImages by state: ready, pulling, pending, pullfailed or skipped. On the leader only.",
		}, []string{"state"}),
		nodes: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "kube_prepull_nodes",
			Help: "Nodes that can pull, by state: complete (they have their whole list), pulling or failing. On the leader only.",
		}, []string{"state"}),
		revisions: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "kube_prepull_daemonset_revisions_total",
			Help: "Prepull DaemonSets that were created or changed.",
		}),
		quarantines: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "kube_prepull_quarantines_total",
			Help: "Images that left the list of a node class, or went to its end, because they could not be pulled.",
		}),
		pullSeconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "kube_prepull_pull_seconds",
			Help:    "How long a node took for an image that it did not have, the wait for other pulls included, in whole seconds. From the status of prepull pods.",
			Buckets: []float64{1, 2, 5, 10, 20, 40, 80, 160, 320, 640, 1280},
		}, []string{"node_class"}),
		pullBytes: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "kube_prepull_pull_bytes",
			Help:    "Sizes of the images that nodes pulled because they did not have them, as nodes report them, or else the registry. Images whose size nobody tells are left out.",
			Buckets: []float64{1e6, 4e6, 16e6, 64e6, 128e6, 256e6, 512e6, 1e9, 2e9, 4e9, 8e9, 16e9},
		}, []string{"node_class"}),
		timeToWarm: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "kube_prepull_time_to_warm_seconds",
			Help:    "Time from when an image was learned, or declared, to when every node that wants it had it for the first time.",
			Buckets: []float64{2, 5, 10, 20, 40, 80, 160, 320, 640, 1280, 3600, 4 * 3600, 24 * 3600},
		}),
	}
	return m, register(registry, m.images, m.nodes, m.revisions, m.quarantines, m.pullSeconds, m.pullBytes, m.timeToWarm)
}

func register(registry prometheus.Registerer, collectors ...prometheus.Collector) error {
	for _, collector := range collectors {
		if err := registry.Register(collector); err != nil {
			return fmt.Errorf("registering metrics: %w", err)
		}
	}
	return nil
}

// measure sets the gauges to what was observed and planned.
func (m *metrics) measure(images []v1alpha1.PrepullImage, p plan.Plan) {
	states := map[string]int{plan.StateReady: 0, plan.StatePulling: 0, plan.StatePending: 0, plan.StateFailed: 0, plan.StateSkipped: 0}
	changes := map[string]string{}
	for _, c := range p.Statuses {
		changes[c.Name] = c.Status.State
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
		m.images.WithLabelValues(strings.ToLower(state)).Set(float64(n))
	}
	var complete, pulling, failing int
	for _, cp := range p.Classes {
		for _, n := range cp.Pullable {
			switch {
			case cp.Failing(n.Name):
				failing++
			case cp.Complete(n.Name):
				complete++
			default:
				pulling++
			}
		}
	}
	m.nodes.WithLabelValues("complete").Set(float64(complete))
	m.nodes.WithLabelValues("pulling").Set(float64(pulling))
	m.nodes.WithLabelValues("failing").Set(float64(failing))
}

// nodePull is one that ended on a node which did not have the image before.
type nodePull struct {
	class string
	took  time.Duration
	bytes int64 // 0 if not known
}

// newPulls are the pulls that ended between two plans. A class that is new tells nothing: its pulls may have ended long
// ago.
func newPulls(before map[string]*warmth.Warmth, after []*plan.ClassPlan) []nodePull {
	var pulls []nodePull
	for _, cp := range after {
		was := before[cp.Name]
		if was == nil {
			continue
		}
		for _, image := range cp.Images {
			w, old := cp.Warmth.Images[image.Name], was.Images[image.Name]
			if old == nil {
				old = &warmth.Image{}
			}
			if len(w.Ran) == 0 {
				continue
			}
			for node := range w.At {
				took, ran := w.Pulled(node)
				if _, before := old.Pulled(node); ran && !before && !old.Lists(node) {
					pulls = append(pulls, nodePull{cp.Name, took, cmp.Or(w.Size, image.Size)})
				}
			}
		}
	}
	return pulls
}

// measurePulls adds the pulls that ended since the pass before, and forgets classes that are gone.
func (m *metrics) measurePulls(before map[string]*warmth.Warmth, after []*plan.ClassPlan) {
	for _, p := range newPulls(before, after) {
		m.pullSeconds.WithLabelValues(p.class).Observe(p.took.Seconds())
		if p.bytes > 0 {
			m.pullBytes.WithLabelValues(p.class).Observe(float64(p.bytes))
		}
	}
	for class := range before {
		if !slices.ContainsFunc(after, func(cp *plan.ClassPlan) bool { return cp.Name == class }) {
			m.pullSeconds.DeleteLabelValues(class)
			m.pullBytes.DeleteLabelValues(class)
		}
	}
}
