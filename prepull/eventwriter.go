package prepull

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/kube-prepull/kube-prepull/prepull/plan"
)

// noticeBurst is how many Events are made at once: a namespace may bring a thousand images at once that have no
// place. What is not told is in the conditions all the same.
const noticeBurst = 100

// tell makes the Events of a change that is written, which gave the object a version, and measures it. A cache that is
// behind shows the same change once more. Nothing comes back to an Event that the API server refuses.
func (r *reconciler) tell(ctx context.Context, c plan.StatusChange, version string) {
	if c.Warmed == 0 && len(c.Notices) == 0 {
		return
	}
	if told, found := r.told[c.Name]; found {
		if order, err := resourceversion.CompareResourceVersion(c.From, told); err != nil || order < 0 {
			return
		}
	}
	r.told[c.Name] = version
	if c.Warmed > 0 {
		warmMetric.Observe(c.Warmed.Seconds())
	}
	for _, n := range c.Notices {
		if !r.notices.Allow() {
			log.FromContext(ctx).V(1).Info("no Event is made, there are too many", "reason", n.Reason, "name", n.About.Name)
			continue
		}
		if err := r.client.Create(ctx, n.Event(), reconcilerOwner); client.IgnoreAlreadyExists(err) != nil && !apierrors.IsNotFound(err) {
			log.FromContext(ctx).Info("an Event was not made", "reason", n.Reason, "kind", n.About.Kind, "name", n.About.Name, "error", err.Error())
		}
	}
}
