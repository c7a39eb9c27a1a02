package learn

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
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
// when it opts in, when its pods get other strings for their images, and when something new was learned there, until its rollouts
// are over: what a new image displaces is no longer in use then.
type resync struct {
	cached    client.Reader
	live      client.Reader
	images    *imageStore
	namespace string
	clocks    clock.Clocks
	keep      retention
	clockOff  func() bool // nil is never
	// pullSecrets is set if the pull secrets of workloads are learned, and fromPods if templates alone teach nothing.
	pullSecrets, fromPods bool
	// pace is of the resyncs of all namespaces, of which there is one at a time, and paces are of those of one.
	pace  resyncPace
	paces namespacePaces
	// own are the versions that it wrote: they are no news.
	own ownVersions
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
		keep:        retention{gone: o.Retention, rollback: o.RollbackRetention, optedOut: o.Clocks.OptOutTime},
		clockOff:    o.ClockOff,
		pullSecrets: o.PullSecrets,
		fromPods:    o.FromPods,
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
		Watches(&v1alpha1.PrepullImage{}, r.onImageChange()).
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

// onImageChange resyncs when somebody deletes an image that workloads use, or the whole CustomResourceDefinition: what
// is in use comes back. It does so when the time of one may be over that was declared with a ttl. When an image gets another user, or one with other constraints, the rest of what its namespace runs has
// changed as well.
func (r *resync) onImageChange() handler.Funcs {
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			if o, ok := e.Object.(*v1alpha1.PrepullImage); ok && o.Spec.TTL != nil && !e.IsInInitialList {
				q.AddAfter(everything, o.Spec.TTL.Duration)
			}
		},
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			before, after := e.ObjectOld.(*v1alpha1.PrepullImage), e.ObjectNew.(*v1alpha1.PrepullImage)
			if r.own.has(after) {
				return
			}
			for _, ns := range changedNamespaces(learnedOf(before.Status), learnedOf(after.Status)) {
				q.AddAfter(reconcile.Request{NamespacedName: types.NamespacedName{Name: ns}}, r.clocks.ResyncPause)
			}
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			if o, ok := e.Object.(*v1alpha1.PrepullImage); ok && o.Status.UserCount > 0 {
				q.AddAfter(everything, r.clocks.ResyncDelay)
			}
		},
	}
}

// changedNamespaces are those of users of an image that came since before, or came back, or of all users where these ask for more.
func changedNamespaces(before, after learned) []string {
	var namespaces []string
	more := !equality.Semantic.DeepEqual(before.Placements, after.Placements) || before.UserCount == 0 && after.UserCount > 0
	for _, u := range after.Users {
		if at := userIn(before.Users, u); more || at < 0 || before.Users[at].Runs != u.Runs {
			namespaces = append(namespaces, u.Namespace)
		}
	}
	slices.Sort(namespaces)
	return slices.Compact(namespaces)
}

// Reconcile resyncs one namespace, or all when they may be read again.
func (r *resync) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	if request != everything {
		return r.reconcileOne(ctx, request.Name)
	}
	if wait := r.pace.wait(time.Now()); wait > 0 {
		return reconcile.Result{RequeueAfter: wait}, nil
	}
	done, err := r.once(ctx, "")
	r.pace = r.pace.after(err, time.Now())
	if !r.firstDone.Load() {
		// A namespace that cannot be read holds nobody up.
		err = errors.Join(err, r.waitSeen(ctx, done.wrote))
		r.firstDone.Store(true)
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	next := r.pace.interval
	if done.missed {
		next = r.pace.wait(time.Now())
	} else if !done.again.IsZero() {
		next = min(next, max(time.Until(done.again), r.clocks.ResyncDelay))
	}
	return reconcile.Result{RequeueAfter: next}, nil
}

// reconcileOne resyncs one namespace, and again as long as a rollout is under way there.
func (r *resync) reconcileOne(ctx context.Context, name string) (reconcile.Result, error) {
	done, err := r.once(ctx, name)
	if err != nil {
		return reconcile.Result{}, err
	}
	if done.missed {
		return reconcile.Result{RequeueAfter: r.clocks.ResyncDelay}, nil
	}
	return reconcile.Result{RequeueAfter: r.paces.next(name, done.rolling, r.pace.pause, r.pace.interval)}, nil
}

// resynced is what came of a resync.
type resynced struct {
	wrote versions
	// missed is set if anything was left because somebody else wrote to it.
	missed bool
	// rolling is set if a rollout is under way.
	rolling bool
	// again is when time alone changes something, zero if that can wait for the interval.
	again time.Time
}

// once observes, plans and acts once, for one namespace or with an empty name for all. The PrepullImages are read first:
// whatever is learned from then on is not known here, and so not retired.
func (r *resync) once(ctx context.Context, only string) (resynced, error) {
	now := time.Now()
	var images v1alpha1.PrepullImageList
	if err := r.cached.List(ctx, &images); err != nil {
		return resynced{}, fmt.Errorf("listing PrepullImages: %w", err)
	}
	namespaces, err := r.optedIn(ctx)
	if err != nil {
		return resynced{}, err
	}
	counted, unread := r.count(ctx, namespaces, only, r.provenBy(images.Items))
	if _, in := namespaces[only]; only != "" && !in {
		return resynced{}, nil // it has opted out meanwhile
	}
	keep := r.keep
	keep.suspended = r.clockOff != nil && r.clockOff()
	changes, again := planResync(images.Items, counted, keep, now)
	wrote, missed, err := r.act(ctx, changes)
	return resynced{wrote, missed, len(counted.rolling) > 0, again}, errors.Join(unread, err)
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
				r.own.add(name, version)
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
