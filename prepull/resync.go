package prepull

import (
	"context"
	"errors"
	"fmt"
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

	// resyncDelay lets a script that labels namespaces one by one cause few resyncs.
	resyncDelay = 500 * time.Millisecond

	// resyncRetry is the wait after a resync that failed, doubling up to resyncRetryMax.
	resyncRetry    = time.Second
	resyncRetryMax = 30 * time.Second

	// resyncSoon is when a resync comes back to what others wrote to while it read.
	resyncSoon = 5 * time.Second
)

// resync compares all opted-in namespaces with the PrepullImages and puts right what differs. It runs on the leader:
// at start, when a namespace opts in or out, when an image in use is deleted, and at an interval.
type resync struct {
	cached    client.Reader
	live      client.Reader
	images    *imageStore
	namespace string
	interval  time.Duration
	keep      retention
}

// setupResync makes the manager run the resync on the leader. It writes through the learner's store.
func setupResync(mgr ctrl.Manager, o Options, l *Learner) error {
	r := &resync{
		cached:    mgr.GetClient(),
		live:      mgr.GetAPIReader(),
		images:    l.images,
		namespace: o.Namespace,
		interval:  o.ResyncInterval,
		keep:      retention{gone: o.Retention, rollback: o.RollbackRetention},
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named("resync").
		WithOptions(controller.Options{
			CacheSyncTimeout: crdPatience,
			RateLimiter:      workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](resyncRetry, resyncRetryMax),
		}).
		WatchesRawSource(source.Func(func(_ context.Context, q queue) error { resyncLater(q); return nil })).
		WatchesMetadata(&corev1.Namespace{}, r.onOptChange()).
		Watches(&v1alpha1.PrepullImage{}, onDeletionInUse()).
		Complete(r)
}

func resyncLater(q queue) {
	q.AddAfter(reconcile.Request{NamespacedName: types.NamespacedName{Name: "all"}}, resyncDelay)
}

// onOptChange resyncs when a namespace opts in or out.
func (r *resync) onOptChange() handler.Funcs {
	in := func(o client.Object) bool { return optedIn(o, r.namespace) }
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) {
			if in(e.Object) {
				resyncLater(q)
			}
		},
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			if in(e.ObjectOld) != in(e.ObjectNew) {
				resyncLater(q)
			}
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) {
			if in(e.Object) {
				resyncLater(q)
			}
		},
	}
}

// onDeletionInUse resyncs when somebody deletes an image that workloads use, or the whole CustomResourceDefinition: what
// is in use comes back.
func onDeletionInUse() handler.Funcs {
	return handler.Funcs{DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) {
		if o, ok := e.Object.(*v1alpha1.PrepullImage); ok && o.Status.UserCount > 0 {
			resyncLater(q)
		}
	}}
}

// Reconcile observes, plans and acts once. The PrepullImages are read first: whatever is learned from then on is not
// known here, and so not retired.
func (r *resync) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	now := time.Now()
	var images v1alpha1.PrepullImageList
	if err := r.cached.List(ctx, &images); err != nil {
		return reconcile.Result{}, fmt.Errorf("listing PrepullImages: %w", err)
	}
	namespaces, err := r.optedIn(ctx)
	if err != nil {
		return reconcile.Result{}, err
	}
	counted, unread := r.count(ctx, namespaces)
	missed, err := r.act(ctx, planResync(images.Items, counted, r.keep, now))
	if err := errors.Join(unread, err); err != nil {
		return reconcile.Result{}, err
	}
	if missed {
		return reconcile.Result{RequeueAfter: resyncSoon}, nil
	}
	return reconcile.Result{RequeueAfter: r.interval}, nil
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
