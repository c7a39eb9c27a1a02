package prepull

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

const (
	// resyncPage is how many objects a resync reads at a time.
	resyncPage = 500

	// resyncWriters is how many changes a resync carries out at the same time.
	resyncWriters = 8

	// resyncDelay lets a script that works on namespaces one by one cause few resyncs, and what it makes in a new
	// namespace be there to be read.
	resyncDelay = 500 * time.Millisecond

	// resyncRetry is the wait before a namespace that could not be read is tried again, doubling up to the interval.
	resyncRetry = time.Second

	// resyncWorkers let a namespace that opts in be read while a resync of all goes on.
	resyncWorkers = 2
)

// everything asks for a resync of all opted-in namespaces; a request with a name is for that namespace alone.
var everything = reconcile.Request{}

// resync compares the opted-in namespaces with the PrepullImages and puts right what differs. It runs on the leader: of
// all namespaces at start, when one opts out, when an image in use is deleted, and at an interval; of one namespace
// when it opts in, and then it only adds.
type resync struct {
	cached    client.Reader
	live      client.Reader
	images    *imageStore
	namespace string
	keep      retention
	// pace is of the resyncs of all namespaces, of which there is one at a time.
	pace resyncPace
}

// setupResync makes the manager run the resync on the leader. It writes through the learner's store.
func setupResync(mgr ctrl.Manager, o Options, l *Learner) error {
	r := &resync{
		cached:    mgr.GetClient(),
		live:      mgr.GetAPIReader(),
		images:    l.images,
		namespace: o.Namespace,
		keep:      retention{gone: o.Retention, rollback: o.RollbackRetention},
		pace:      resyncPace{interval: o.ResyncInterval},
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named("resync").
		WithOptions(controller.Options{
			CacheSyncTimeout:        crdPatience,
			MaxConcurrentReconciles: resyncWorkers,
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](resyncRetry, o.ResyncInterval),
		}).
		WatchesRawSource(source.Func(func(_ context.Context, q queue) error { q.AddAfter(everything, resyncDelay); return nil })).
		WatchesMetadata(&corev1.Namespace{}, r.onOptChange()).
		Watches(&v1alpha1.PrepullImage{}, onDeletionInUse()).
		Complete(r)
}

// onOptChange resyncs a namespace that opts in, and all when one opts out. Those of the initial list are in the resync
// at start.
func (r *resync) onOptChange() handler.Funcs {
	in := func(o client.Object) bool { return optedIn(o, r.namespace) }
	one := func(o client.Object) reconcile.Request {
		return reconcile.Request{NamespacedName: types.NamespacedName{Name: o.GetName()}}
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) {
			if in(e.Object) && !e.IsInInitialList {
				q.AddAfter(one(e.Object), resyncDelay)
			}
		},
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			switch before, after := in(e.ObjectOld), in(e.ObjectNew); {
			case !before && after:
				q.AddAfter(one(e.ObjectNew), resyncDelay)
			case before && !after:
				q.AddAfter(everything, resyncDelay)
			}
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) {
			if in(e.Object) {
				q.AddAfter(everything, resyncDelay)
			}
		},
	}
}

// onDeletionInUse resyncs when somebody deletes an image that workloads use, or the whole CustomResourceDefinition: what
// is in use comes back.
func onDeletionInUse() handler.Funcs {
	return handler.Funcs{DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) {
		if o, ok := e.Object.(*v1alpha1.PrepullImage); ok && o.Status.UserCount > 0 {
			q.AddAfter(everything, resyncDelay)
		}
	}}
}

// Reconcile resyncs one namespace, or all when they may be read again.
func (r *resync) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	if request != everything {
		missed, err := r.once(ctx, request.Name)
		if err != nil || !missed {
			return reconcile.Result{}, err
		}
		return reconcile.Result{RequeueAfter: resyncDelay}, nil
	}
	if wait := r.pace.wait(time.Now()); wait > 0 {
		return reconcile.Result{RequeueAfter: wait}, nil
	}
	missed, err := r.once(ctx, "")
	r.pace = r.pace.after(err, time.Now())
	if err != nil {
		return reconcile.Result{}, err
	}
	if missed {
		return reconcile.Result{RequeueAfter: r.pace.wait(time.Now())}, nil
	}
	return reconcile.Result{RequeueAfter: r.pace.interval}, nil
}

// once observes, plans and acts once, for one namespace or with an empty name for all. It returns whether anything was
// left because somebody else wrote to it. The PrepullImages are read first: whatever is learned from then on is not
// known here, and so not retired.
func (r *resync) once(ctx context.Context, only string) (missed bool, err error) {
	now := time.Now()
	var images v1alpha1.PrepullImageList
	if err := r.cached.List(ctx, &images); err != nil {
		return false, fmt.Errorf("listing PrepullImages: %w", err)
	}
	namespaces, err := r.optedIn(ctx)
	if err != nil {
		return false, err
	}
	if only != "" {
		// It may have opted out meanwhile.
		namespaces = slices.DeleteFunc(namespaces, func(ns string) bool { return ns != only })
	}
	counted, unread := r.count(ctx, namespaces)
	counted.partial = counted.partial || only != ""
	missed, err = r.act(ctx, planResync(images.Items, counted, r.keep, now))
	return missed, errors.Join(unread, err)
}

// optedIn returns the names of the namespaces whose images are learned.
func (r *resync) optedIn(ctx context.Context) ([]string, error) {
	var list metav1.PartialObjectMetadataList
	list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("NamespaceList"))
	if err := r.cached.List(ctx, &list, client.MatchingLabels{v1alpha1.LabelEnabled: v1alpha1.Enabled}); err != nil {
		return nil, fmt.Errorf("listing namespaces: %w", err)
	}
	var names []string
	for i := range list.Items {
		if optedIn(&list.Items[i], r.namespace) {
			names = append(names, list.Items[i].Name)
		}
	}
	return names, nil
}

// count takes the census. A namespace that cannot be read does not keep the others from being counted; the error
// names it.
func (r *resync) count(ctx context.Context, namespaces []string) (*census, error) {
	c := newCensus(namespaces)
	var errs []error
	for _, ns := range namespaces {
		if err := r.countNamespace(ctx, ns, c); err != nil {
			errs = append(errs, fmt.Errorf("reading namespace %s: %w", ns, err))
			c.partial = true
		}
	}
	return c, errors.Join(errs...)
}

// countNamespace adds all workloads and the pods that are not finished. Pods come last: they are counted as their
// jobs' users.
func (r *resync) countNamespace(ctx context.Context, ns string, c *census) error {
	running := fields.ParseSelectorOrDie("status.phase!=Succeeded,status.phase!=Failed")
	for _, kind := range []struct {
		list     func() client.ObjectList
		selector fields.Selector
	}{
		{list: func() client.ObjectList { return &appsv1.DeploymentList{} }},
		{list: func() client.ObjectList { return &appsv1.StatefulSetList{} }},
		{list: func() client.ObjectList { return &appsv1.DaemonSetList{} }},
		{list: func() client.ObjectList { return &batchv1.CronJobList{} }},
		{list: func() client.ObjectList { return &batchv1.JobList{} }},
		{list: func() client.ObjectList { return &corev1.PodList{} }, selector: running},
	} {
		options := &client.ListOptions{Namespace: ns, FieldSelector: kind.selector, Limit: resyncPage}
		for more := true; more; more = options.Continue != "" {
			page := kind.list()
			if err := r.live.List(ctx, page, options); err != nil {
				return fmt.Errorf("listing: %w", err)
			}
			err := meta.EachListItem(page, func(o runtime.Object) error { c.add(o.(client.Object)); return nil })
			if err != nil {
				return fmt.Errorf("reading a list: %w", err)
			}
			options.Continue = page.GetContinue()
		}
	}
	return nil
}

// act carries the changes out. It returns whether any was left because somebody else wrote to its object.
func (r *resync) act(ctx context.Context, changes []change) (bool, error) {
	var writers errgroup.Group
	writers.SetLimit(resyncWriters)
	var missed atomic.Bool
	for _, c := range changes {
		writers.Go(func() error {
			left, err := r.carryOut(ctx, c)
			if left {
				missed.Store(true)
			}
			return err
		})
	}
	err := writers.Wait()
	return missed.Load(), err
}

// carryOut carries one change out, or leaves it if what it was planned on is no longer so.
func (r *resync) carryOut(ctx context.Context, c change) (left bool, err error) {
	if c.object == nil {
		o, err := r.images.ensure(ctx, c.image)
		if o == nil || err != nil {
			return false, err
		}
		_, err = r.images.update(ctx, o, c.merge)
		return false, err
	}
	if c.retire {
		version := client.Preconditions{UID: &c.object.UID, ResourceVersion: &c.object.ResourceVersion}
		err := r.images.client.Delete(ctx, c.object, version)
		if apierrors.IsConflict(err) {
			return true, nil
		}
		if client.IgnoreNotFound(err) != nil {
			return false, fmt.Errorf("deleting PrepullImage %s: %w", c.object.Name, err)
		}
		return false, nil
	}
	_, err = r.images.update(ctx, c.object, func(have learned) learned {
		next, ok := c.replace(have)
		left = !ok
		return next
	})
	return left, err
}
