package learn

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

var (
	hintsMetric = promauto.With(metrics.Registry).NewCounterVec(prometheus.CounterOpts{
		Name: "kube_prepull_hints_total",
		Help: "Hints of the webhook by what came of them: queued or dropped (no room, the resync makes up for it), and later learned, nothing or error.",
	}, []string{"result"})

	skippedMetric = promauto.With(metrics.Registry).NewCounterVec(prometheus.CounterOpts{
		Name: "kube_prepull_images_skipped_total",
		Help: "Sightings of images that cannot be stored, by reason: too_long, too_many or name_taken.",
	}, []string{"reason"})
)

func init() {
	// What is counted is there from the start, with 0.
	for _, result := range []string{"queued", "dropped", "learned", "nothing", "error"} {
		hintsMetric.WithLabelValues(result)
	}
	for _, reason := range []string{"too_long", "too_many", "name_taken"} {
		skippedMetric.WithLabelValues(reason)
	}
}
