package prepull

import (
	"context"

	"golang.org/x/time/rate"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/kube-prepull/kube-prepull/api/clock"
	"github.com/kube-prepull/kube-prepull/prepull/plan"
)

// eventBurst is how many Events are made at once: a namespace may bring a thousand images at once that have no
// place. What is not told is in the conditions all the same.
const eventBurst = 100

// eventWriter makes the Events of changed statuses.
type eventWriter struct {
	client  client.Client
	limiter *rate.Limiter
	metrics *metrics

	// recorded are the resource versions of the objects whose last change has its Events.
	recorded map[string]string
}

func newEventWriter(c client.Client, clocks clock.Clocks, m *metrics) *eventWriter {
	return &eventWriter{client: c, limiter: rate.NewLimiter(rate.Every(clocks.NoticePace), eventBurst), metrics: m, recorded: map[string]string{}}
}

// record makes the Events of a change that is written, which gave the object a version, and measures it. A cache that is
// behind shows the same change once more. Nothing comes back to an Event that the API server refuses.
func (w *eventWriter) record(ctx context.Context, c plan.StatusChange, version string) {
	if c.Warmed == 0 && len(c.Notices) == 0 {
		return
	}
	if recorded, found := w.recorded[c.Name]; found {
		if order, err := resourceversion.CompareResourceVersion(c.From, recorded); err != nil || order < 0 {
			return
		}
	}
	w.recorded[c.Name] = version
	if c.Warmed > 0 {
		w.metrics.timeToWarm.Observe(c.Warmed.Seconds())
	}
	for _, n := range c.Notices {
		if !w.limiter.Allow() {
			log.FromContext(ctx).V(1).Info("no Event is made, there are too many", "reason", n.Reason, "name", n.About.Name)
			continue
		}
		if err := w.client.Create(ctx, n.Event(), reconcilerOwner); client.IgnoreAlreadyExists(err) != nil && !apierrors.IsNotFound(err) {
			log.FromContext(ctx).Info("an Event was not made", "reason", n.Reason, "kind", n.About.Kind, "name", n.About.Name, "error", err.Error())
		}
	}
}
