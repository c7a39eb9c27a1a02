// Package credentials copies the pull secrets that images need to where the prepull pods can use them.
package credentials

import (
	"context"
	"slices"
	"time"

	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/kube-prepull/kube-prepull/api/clock"
	"github.com/kube-prepull/kube-prepull/prepull/plan"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// Options of a keeper.
type Options struct {
	// Namespace is where the copies live: the manager's own.
	Namespace string

	// NoopImage is the image that every prepull pod has, as in its container. No login is offered to it.
	NoopImage string

	// Enabled is set if pull secrets are used. If not, the copies of an earlier time are deleted.
	Enabled bool

	// Clocks are what is waited. They are not configured.
	Clocks clock.Clocks
}

// SetupWithManager makes a manager keep the copies on the leader.
func SetupWithManager(mgr ctrl.Manager, o Options) (*Keeper, error) {
	k := newKeeper(mgr.GetClient(), mgr.GetAPIReader(), o)
	err := ctrl.NewControllerManagedBy(mgr).
		Named("credentials").
		WithOptions(controller.Options{
			RateLimiter: workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](o.Clocks.PassRetry, o.Clocks.MaxPassRetry),
		}).
		WatchesRawSource(source.Channel(k.asks, handler.Funcs{
			GenericFunc: func(_ context.Context, _ event.GenericEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
				q.AddAfter(reconcile.Request{}, o.Clocks.PassPace)
			},
		})).
		Complete(k)
	return k, err
}

func newKeeper(c client.Client, live client.Reader, o Options) *Keeper {
	// Where pull secrets are not used there is nothing to wait for.
	known := Knowledge{Pulls: plan.Pulls{Off: !o.Enabled}, Complete: !o.Enabled}
	k := &Keeper{client: c, live: live, namespace: o.Namespace, clocks: o.Clocks, off: !o.Enabled, exchange: newExchange(known)}
	if canonical, err := workload.CanonicalImage(o.NoopImage); err == nil {
		k.noop = workload.Repository(canonical)
	}
	return k
}

// Changes has an event when more is known, or something else.
func (k *Keeper) Changes() <-chan event.GenericEvent { return k.changes }

// Reconcile reads and copies what is needed, and makes known what has come of it.
func (k *Keeper) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	n := k.asked()
	if !n.told {
		return reconcile.Result{}, nil
	}
	now := time.Now()
	next, err := k.sync(ctx, n, now)
	k.publish(k.knowledge())
	if err != nil {
		return reconcile.Result{}, err
	}
	if next.IsZero() {
		return reconcile.Result{}, nil
	}
	return reconcile.Result{RequeueAfter: max(k.clocks.PassPace, next.Sub(now))}, nil
}

// knowledge is what is known after a sync.
func (k *Keeper) knowledge() Knowledge {
	var words []string
	for _, r := range k.read {
		words = append(words, r.words...)
	}
	slices.Sort(words)
	return Knowledge{Pulls: k.pulls, Complete: k.off || k.copies != nil, words: slices.Compact(words)}
}
