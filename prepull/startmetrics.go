package prepull

import "github.com/prometheus/client_golang/prometheus"

// startMetrics are what workloads make of the images on the nodes.
type startMetrics struct {
	starts       *prometheus.CounterVec
	workloadPull prometheus.Histogram
	saved        prometheus.Counter
}

func newStartMetrics(registry prometheus.Registerer) (*startMetrics, error) {
	m := &startMetrics{
		starts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kube_prepull_container_starts_total",
			Help: "Container starts in opted-in namespaces, by result: hit (the image was on the node) or miss (it was pulled). From the events of kubelets.",
		}, []string{"result"}),
		workloadPull: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "kube_prepull_workload_pull_seconds",
			Help:    "How long containers in opted-in namespaces waited for an image that had to be pulled, the wait for other pulls included. From the events of kubelets.",
			Buckets: []float64{.1, .25, .5, 1, 2, 5, 10, 20, 40, 80, 160, 320, 640, 1280},
		}),
		saved: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "kube_prepull_saved_seconds_total",
			Help: "Pull time that containers in opted-in namespaces were saved: what the pull of a prepull pod took, when the first container after it starts on the node with the image.",
		}),
	}
	for _, result := range []string{"hit", "miss"} {
		m.starts.WithLabelValues(result) // there from the start, with 0
	}
	return m, register(registry, m.starts, m.workloadPull, m.saved)
}
