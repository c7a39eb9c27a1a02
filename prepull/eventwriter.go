package prepull

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// noticeBurst is how many Events are made at once: a namespace may bring a thousand images at once that have no
// place. What is not told is in the conditions all the same.
const noticeBurst = 100

// tell makes the Events of a change that is written, which gave the object a version, and measures it. A cache that is
// behind shows the same change once more. Nothing comes back to an Event that the API server refuses.
func (r *reconciler) tell(ctx context.Context, c statusChange, version string) {
	if c.warmed == 0 && len(c.notices) == 0 {
		return
	}
	if told, found := r.told[c.name]; found {
		if order, err := resourceversion.CompareResourceVersion(c.from, told); err != nil || order < 0 {
			return
		}
	}
	r.told[c.name] = version
	if c.warmed > 0 {
		warmMetric.Observe(c.warmed.Seconds())
	}
	for _, n := range c.notices {
		if !r.notices.Allow() {
			log.FromContext(ctx).V(1).Info("no Event is made, there are too many", "reason", n.reason, "name", n.about.Name)
			continue
		}
		if err := r.client.Create(ctx, n.event(), reconcilerOwner); client.IgnoreAlreadyExists(err) != nil && !apierrors.IsNotFound(err) {
			log.FromContext(ctx).Info("an Event was not made", "reason", n.reason, "kind", n.about.Kind, "name", n.about.Name, "error", err.Error())
		}
	}
}
