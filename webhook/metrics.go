package webhook

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Results of an admission for one container or image volume.
const (
	pinned   = "pinned"   // its template gained or changed a pin
	kept     = "kept"     // its template kept a pin, because no registry answered
	restored = "restored" // its template got back a pin that the request dropped
	replaced = "replaced" // its pod got a digest
	leftTag  = "left"     // it stays a tag, because no registry answered
)

// admissionMetrics count and time every request that reaches the webhook.
type admissionMetrics struct {
	total   *prometheus.CounterVec
	pins    *prometheus.CounterVec
	seconds *prometheus.HistogramVec
}

func newMetrics(registry prometheus.Registerer) (*admissionMetrics, error) {
	m := &admissionMetrics{
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kube_prepull_admissions_total",
			Help: "Admissions seen, by outcome: hinted, dropped (no room, the resync makes up for it), ignored, dryrun or error. All of them were allowed.",
		}, []string{"outcome"}),
		pins: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kube_prepull_pins_total",
			Help: "Containers and image volumes whose image was decided about at admission, by result: pinned (the template got a digest), kept (it keeps an earlier one, the registry gave no answer), restored (it got back the one that the request dropped), replaced (a pod got a digest) or left (it stays a tag).",
		}, []string{"result"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "kube_prepull_admission_seconds",
			Help:    "Time in the webhook for one admission, reading the request included, by outcome as in kube_prepull_admissions_total.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .1, .25, .5, 1, 1.25},
		}, []string{"outcome"}),
	}
	for _, collector := range []prometheus.Collector{m.total, m.pins, m.seconds} {
		if err := registry.Register(collector); err != nil {
			return nil, fmt.Errorf("registering the admission metrics: %w", err)
		}
	}
	for _, o := range []outcome{hinted, dropped, ignored, dryRun, failed} {
		m.total.WithLabelValues(string(o)) // every outcome is there from the start, with 0
		m.seconds.WithLabelValues(string(o))
	}
	for _, result := range []string{pinned, kept, restored, replaced, leftTag} {
		m.pins.WithLabelValues(result)
	}
	return m, nil
}

func (m *admissionMetrics) observe(o outcome, took time.Duration) {
	m.total.WithLabelValues(string(o)).Inc()
	m.seconds.WithLabelValues(string(o)).Observe(took.Seconds())
}
