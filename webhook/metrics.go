package webhook

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// admissionMetrics count and time every request that reaches the webhook.
type admissionMetrics struct {
	total   *prometheus.CounterVec
	seconds prometheus.Histogram
}

func newMetrics(registry prometheus.Registerer) (*admissionMetrics, error) {
	m := &admissionMetrics{
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kube_prepull_admissions_total",
			Help: "Admissions seen, by outcome: hinted, dropped (no room, the resync makes up for it), ignored, dryrun or error. All of them were allowed.",
		}, []string{"outcome"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "kube_prepull_admission_seconds",
			Help:    "Time in the webhook for one admission, reading the request included.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .1, 1},
		}),
	}
	for _, collector := range []prometheus.Collector{m.total, m.seconds} {
		if err := registry.Register(collector); err != nil {
			return nil, fmt.Errorf("registering the admission metrics: %w", err)
		}
	}
	for _, o := range []outcome{hinted, dropped, ignored, dryRun, failed} {
		m.total.WithLabelValues(string(o)) // every outcome is there from the start, with 0
	}
	return m, nil
}

func (m *admissionMetrics) observe(o outcome, took time.Duration) {
	m.total.WithLabelValues(string(o)).Inc()
	m.seconds.Observe(took.Seconds())
}
