package learn

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are what comes of hints, and of images.
type metrics struct {
	hints, skipped *prometheus.CounterVec
}

func newMetrics(registry prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		hints: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kube_prepull_hints_total",
			Help: "Hints of the webhook by what came of them: queued or dropped (no room, the resync makes up for it), and later learned, nothing or error.",
		}, []string{"result"}),
		skipped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kube_prepull_images_skipped_total",
			Help: "Sightings of images that cannot be stored, by reason: too_long, invalid (no kubelet takes it for an image), too_many or name_taken.",
		}, []string{"reason"}),
	}
	for _, collector := range []prometheus.Collector{m.hints, m.skipped} {
		if err := registry.Register(collector); err != nil {
			return nil, fmt.Errorf("registering the metrics of the learner: %w", err)
		}
	}
	// What is counted is there from the start, with 0.
	for _, result := range []string{"queued", "dropped", "learned", "nothing", "error"} {
		m.hints.WithLabelValues(result)
	}
	for _, reason := range []string{"too_long", "invalid", "too_many", "name_taken"} {
		m.skipped.WithLabelValues(reason)
	}
	return m, nil
}
