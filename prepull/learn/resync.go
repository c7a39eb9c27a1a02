package learn

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/kube-prepull/kube-prepull/api/clock"
	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

const (
	// resyncWriters is how many changes a resync carries out at the same time.
	resyncWriters = 8

	// resyncWorkers let a namespace that opts in be read while a resync of all goes on.
	resyncWorkers = 2
)

// everything asks for a resync of all opted-in namespaces; a request with a name is for that namespace alone.
var everything = reconcile.Request{}

// resync compares the opted-in namespaces with the PrepullImages and puts right what differs. It runs on the leader: of
// all namespaces at start, when one opts out, when an image in use is deleted, and at an interval; of one namespace
// when it opts in, or its pods get other strings for their images, and then it only adds.
type resync struct {
	cached    client.Reader
	live      client.Reader
	images    *imageStore
	namespace string
	clocks    clock.Clocks
	keep      retention
	// pullSecrets is set if the pull secrets of workloads are learned.
	pullSecrets bool
	// pace is of the resyncs of all namespaces, of which there is one at a time.
	pace resyncPace
	// firstDone is set once all namespaces were looked at for the first time: what could be learned was.
	firstDone *atomic.Bool
}

// setupResync makes the manager run the resync on the leader. It writes through the learner's store.
func setupResync(mgr ctrl.Manager, o Options, l *Learner, firstDone *atomic.Bool) error {
	r := &resync{
		cached:      mgr.GetClient(),
		live:        mgr.GetAPIReader(),
		images:      l.images,
		namespace:   o.Namespace,
		clocks:      o.Clocks,
		keep:        retention{gone: o.Retention, rollback: o.RollbackRetention},
		pullSecrets: o.PullSecrets,
		pace:        resyncPace{pause: o.Clocks.ResyncPause, interval: o.ResyncInterval},
		firstDone:   firstDone,
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named("resync").
		WithOptions(controller.Options{
			CacheSyncTimeout:        o.CacheSyncTimeout,
			MaxConcurrentReconciles: resyncWorkers,
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](o.Clocks.ResyncRetry, o.ResyncInterval),
		}).
		WatchesRawSource(source.Func(func(_ context.Context, q workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
			q.AddAfter(everything, o.Clocks.ResyncDelay)
			return nil
		})).
		WatchesMetadata(&corev1.Namespace{}, r.onOptChange()).
		Watches(&v1alpha1.PrepullImage{}, r.onDeletionInUse()).
		Complete(r)
}

// onOptChange resyncs a namespace that opts in, and all when one opts out. Those of the initial list are in the resync
// at start. When a namespace has its images pinned from now on, or no longer, its pods need other strings at once; those
// that they leave are kept for a while in any case, so a resync of all is soon enough for them.
func (r *resync) onOptChange() handler.Funcs {
	in := func(o client.Object) bool { return workload.OptedIn(o, r.namespace) }
	one := func(o client.Object) reconcile.Request {
		return reconcile.Request{NamespacedName: types.NamespacedName{Name: o.GetName()}}
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			if in(e.Object) && !e.IsInInitialList {
				q.AddAfter(one(e.Object), r.clocks.ResyncDelay)
			}
		},
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			switch before, after := in(e.ObjectOld), in(e.ObjectNew); {
			case after && (!before || workload.Rewrites(e.ObjectOld) != workload.Rewrites(e.ObjectNew)):
				q.AddAfter(one(e.ObjectNew), r.clocks.ResyncDelay)
			case before && !after:
				q.AddAfter(everything, r.clocks.ResyncDelay)
			}
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			if in(e.Object) {
				q.AddAfter(everything, r.clocks.ResyncDelay)
			}
		},
	}
}

// onDeletionInUse resyncs when somebody deletes an image that workloads use, or the whole CustomResourceDefinition: what
// is in use comes back.
func (r *resync) onDeletionInUse() handler.Funcs {
	return handler.Funcs{DeleteFunc: func(_ context.Context, e event.DeleteEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
		if o, ok := e.Object.(*v1alpha1.PrepullImage); ok && o.Status.UserCount > 0 {
			q.AddAfter(everything, r.clocks.ResyncDelay)
		}
	}}
}

// Reconcile resyncs one namespace, or all when they may be read again.
func (r *resync) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	if request != everything {
		_, missed, err := r.once(ctx, request.Name)
		if err != nil || !missed {
			return reconcile.Result{}, err
		}
		return reconcile.Result{RequeueAfter: r.clocks.ResyncDelay}, nil
	}
	if wait := r.pace.wait(time.Now()); wait > 0 {
		return reconcile.Result{RequeueAfter: wait}, nil
	}
	wrote, missed, err := r.once(ctx, "")
	r.pace = r.pace.after(err, time.Now())
	if !r.firstDone.Load() {
		// A namespace that cannot be read holds nobody up.
		err = errors.Join(err, r.waitSeen(ctx, wrote))
		r.firstDone.Store(true)
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	if missed {
		return reconcile.Result{RequeueAfter: r.pace.wait(time.Now())}, nil
	}
	return reconcile.Result{RequeueAfter: r.pace.interval}, nil
}

// once observes, plans and acts once, for one namespace or with an empty name for all. It returns what it wrote, and
// whether anything was left because somebody else wrote to it. The PrepullImages are read first: whatever is learned from
// then on is not known here, and so not retired.
func (r *resync) once(ctx context.Context, only string) (wrote versions, missed bool, err error) {
	now := time.Now()
	var images v1alpha1.PrepullImageList
	if err := r.cached.List(ctx, &images); err != nil {
		return nil, false, fmt.Errorf("listing PrepullImages: %w", err)
	}
	namespaces, err := r.optedIn(ctx)
	if err != nil {
		return nil, false, err
	}
	if only != "" {
		// It may have opted out meanwhile.
		maps.DeleteFunc(namespaces, func(ns string, _ map[string]string) bool { return ns != only })
	}
	counted, unread := r.count(ctx, namespaces)
	counted.partial = counted.partial || only != ""
	wrote, missed, err = r.act(ctx, planResync(images.Items, counted, r.keep, now))
	return wrote, missed, errors.Join(unread, err)
}

// act carries the changes out. It returns what it wrote, and whether any was left because somebody else wrote to its object.
func (r *resync) act(ctx context.Context, changes []change) (versions, bool, error) {
	var writers errgroup.Group
	writers.SetLimit(resyncWriters)
	var mu sync.Mutex
	wrote, missed := versions{}, false
	for _, c := range changes {
		writers.Go(func() error {
			name, version, left, err := r.carryOut(ctx, c)
			mu.Lock()
			defer mu.Unlock()
			missed = missed || left
			if version != "" {
				wrote[name] = version
			}
			return err
		})
	}
	err := writers.Wait()
	return wrote, missed, err
}

// carryOut carries one change out, or leaves it if what it was planned on is no longer so. It returns the name and the
// version of what it wrote, or found written.
func (r *resync) carryOut(ctx context.Context, c change) (name, version string, left bool, err error) {
	if c.object == nil {
		o, err := r.images.ensure(ctx, c.image)
		if o == nil || err != nil {
			return "", "", false, err
		}
		if version, err = r.images.update(ctx, o, c.merge); version == "" {
			version = o.ResourceVersion // somebody else was faster, and the cache may not know
		}
		return o.Name, version, false, err
	}
	if c.retire {
		version := client.Preconditions{UID: &c.object.UID, ResourceVersion: &c.object.ResourceVersion}
		err := r.images.client.Delete(ctx, c.object, version)
		if apierrors.IsConflict(err) {
			return "", "", true, nil
		}
		if client.IgnoreNotFound(err) != nil {
			return "", "", false, fmt.Errorf("deleting PrepullImage %s: %w", c.object.Name, err)
		}
		return "", "", false, nil
	}
	version, err = r.images.update(ctx, c.object, func(have learned) learned {
		next, ok := c.replace(have)
		left = !ok
		return next
	})
	return c.object.Name, version, left, err
}
