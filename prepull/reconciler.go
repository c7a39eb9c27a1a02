package prepull

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/credentials"
	"github.com/kube-prepull/kube-prepull/prepull/plan"
	"github.com/kube-prepull/kube-prepull/prepull/warmth"
)

const (
	// reconcilerOwner of what the reconciler writes.
	reconcilerOwner = client.FieldOwner("kube-prepull")

	// statusBatch is how many statuses a pass writes at most, so that a large number does not hold up the DaemonSets.
	statusBatch = 100
)

// reconciler keeps the prepull DaemonSets and the statuses of the PrepullImages right. It works on the cluster as a
// whole, so there is one request for everything. What it remembers only saves writes: a new leader carries on without.
type reconciler struct {
	client  client.Client
	options Options

	credentials *credentials.Keeper

	debounce plan.Debounce

	// notices are how many Events may be made, and told the resource versions of the objects whose last change was told.
	notices *rate.Limiter
	told    map[string]string

	nodes *nodeWriter

	// surveyed is set once the resync has looked at all namespaces for the first time.
	surveyed *atomic.Bool

	// moving is since when pods have to run elsewhere; zero if they do not.
	moving time.Time

	// progressed is when the numbers in the status of an object were written last.
	progressed map[string]time.Time

	// accepted are the hashes of the DaemonSet specs that the API server made of what was written last, by name.
	accepted map[string]string

	// refused are the words with which the API server refused to write a DaemonSet, by name.
	refused map[string]string

	// previous is how far the classes were in the pass before, by name.
	previous map[string]*warmth.Warmth
}

// Reconcile observes, plans, lets nodes go, writes the DaemonSets that differ and then the statuses. The order matters: while new
// images wait to be written, the statuses are about to change too. What is refused holds up nothing else.
func (r *reconciler) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	surveyed := r.surveyed.Load()
	s, err := r.observe(ctx)
	if err != nil {
		return reconcile.Result{}, err
	}
	now := time.Now()
	s.Held = r.nodes.see(s.Nodes, now)
	known := r.credentials.Known()
	known.Hide(s.Pods)
	s.Pulls = known.Pulls
	p := plan.Make(s, r.options.Options, now)
	r.credentials.Need(known, plan.NeededSecrets(p.Classes), s.DaemonSets)
	if !known.Complete {
		_, err := r.nodes.act(ctx, p.Overdue(), now)
		return reconcile.Result{}, err
	}
	r.accept(s, p)
	r.measure(s, p)
	held, nodesErr := r.markNodes(ctx, p, surveyed, now)
	wait := r.debounce.Wait(p.Reasons, now)
	again, err := r.moveIfDue(ctx, s, p, wait == 0, now)
	err = errors.Join(err, nodesErr)
	if wait > 0 && p.Reasons.Ordinary {
		return reconcile.Result{RequeueAfter: r.soonest(now, again, held, now.Add(wait), p.Next)}, err
	}
	var waited time.Time
	if wait > 0 {
		waited = now.Add(wait)
	} else {
		behind, actErr := r.act(ctx, s, p)
		if err = errors.Join(err, actErr); behind {
			waited = now.Add(r.options.Clocks.PassPace)
		}
	}
	left, reportErr := r.report(ctx, p, now)
	if err := errors.Join(err, reportErr); err != nil {
		return reconcile.Result{}, err
	}
	return reconcile.Result{RequeueAfter: r.soonest(now, again, held, waited, left, p.Next)}, nil
}

// markNodes lets nodes go and writes their conditions, and returns when to look again, zero if there is nothing to wait
// for. Before the cluster is surveyed a node may seem to need nothing, because what its pods use was never learned, or
// not while no manager ran.
func (r *reconciler) markNodes(ctx context.Context, p plan.Plan, surveyed bool, now time.Time) (time.Time, error) {
	if surveyed || len(p.Releases)+len(p.Conditions) == 0 {
		return r.nodes.act(ctx, p, now)
	}
	_, err := r.nodes.act(ctx, p.Overdue(), now)
	return now.Add(r.options.Clocks.SurveyPace), err
}

// moveIfDue carries out the changes of where pods run, a moment after the first of them was seen: nodes of a new pool
// come together. It returns when to look again, zero if there is nothing to wait for. With rolling set the DaemonSets that
// get a new list are about to be written anyway.
func (r *reconciler) moveIfDue(ctx context.Context, s plan.State, p plan.Plan, rolling bool, now time.Time) (time.Time, error) {
	if len(p.UpdateInPlace)+len(p.DeleteOrphaned)+len(p.DeletePods) == 0 {
		r.moving = time.Time{}
		return time.Time{}, nil
	}
	if r.moving.IsZero() {
		r.moving = now
	}
	if due := r.moving.Add(r.options.Clocks.MoveGather); now.Before(due) {
		return due, nil
	}
	r.moving = time.Time{}
	move := p.UpdateInPlace
	if rolling {
		move = slices.DeleteFunc(slices.Clone(move), func(ds *appsv1.DaemonSet) bool {
			return slices.ContainsFunc(p.Roll, func(w *appsv1.DaemonSet) bool { return w.Name == ds.Name })
		})
	}
	_, behind, err := r.carryOut(ctx, s, move, p.DeleteOrphaned)
	if err != nil {
		// What is refused is tried again, but not each second.
		r.moving = now.Add(r.options.Clocks.MinGap)
	}
	for _, pod := range p.DeletePods {
		uid := pod.UID
		if err := r.client.Delete(ctx, pod, client.Preconditions{UID: &uid}); client.IgnoreNotFound(err) != nil && !apierrors.IsConflict(err) {
			return time.Time{}, fmt.Errorf("deleting prepull pod %s of another class of nodes: %w", pod.Name, err)
		}
	}
	if behind {
		return now.Add(r.options.Clocks.PassPace), err
	}
	return time.Time{}, err
}

// soonest is how long to wait for the earliest of some times, of which a zero one does not count; 0 if there is none.
func (r *reconciler) soonest(now time.Time, times ...time.Time) time.Duration {
	times = slices.DeleteFunc(times, time.Time.IsZero)
	if len(times) == 0 {
		return 0
	}
	return max(r.options.Clocks.PassPace, slices.MinFunc(times, time.Time.Compare).Sub(now))
}

// observe reads the cluster from the manager's cache. Nothing of it may be changed.
func (r *reconciler) observe(ctx context.Context) (plan.State, error) {
	var (
		images     v1alpha1.PrepullImageList
		nodes      corev1.NodeList
		pods       corev1.PodList
		events     corev1.EventList
		daemonSets appsv1.DaemonSetList
	)
	ours := []client.ListOption{client.UnsafeDisableDeepCopy, client.InNamespace(r.options.Namespace), client.MatchingLabels(v1alpha1.PrepullLabels())}
	if err := r.client.List(ctx, &images, client.UnsafeDisableDeepCopy); err != nil {
		return plan.State{}, fmt.Errorf("listing PrepullImages: %w", err)
	}
	if err := r.client.List(ctx, &nodes, client.UnsafeDisableDeepCopy); err != nil {
		return plan.State{}, fmt.Errorf("listing nodes: %w", err)
	}
	if err := r.client.List(ctx, &pods, ours...); err != nil {
		return plan.State{}, fmt.Errorf("listing prepull pods: %w", err)
	}
	if err := r.client.List(ctx, &events, client.UnsafeDisableDeepCopy, client.InNamespace(r.options.Namespace)); err != nil {
		return plan.State{}, fmt.Errorf("listing events: %w", err)
	}
	if err := r.client.List(ctx, &daemonSets, ours...); err != nil {
		return plan.State{}, fmt.Errorf("listing prepull DaemonSets: %w", err)
	}
	s := plan.State{Images: images.Items, Nodes: nodes.Items, Accepted: r.accepted, Refused: r.refused}
	failed := warmth.PullEvents(events.Items)
	for i := range pods.Items {
		s.Pods = append(s.Pods, warmth.WithPullEvents(&pods.Items[i], failed))
	}
	for i := range daemonSets.Items {
		s.DaemonSets = append(s.DaemonSets, &daemonSets.Items[i])
	}
	return s, nil
}

// accept remembers the DaemonSets that were found as they should be: what a new leader compares once at length.
func (r *reconciler) accept(s plan.State, p plan.Plan) {
	differ := map[string]bool{}
	for _, ds := range slices.Concat(p.Roll, p.UpdateInPlace, p.DeleteEmpty, p.DeleteOrphaned) {
		differ[ds.Name] = true
	}
	for _, ds := range s.DaemonSets {
		if _, known := r.accepted[ds.Name]; !known && !differ[ds.Name] && ds.DeletionTimestamp == nil {
			r.accepted[ds.Name] = plan.AcceptedHash(&ds.Spec)
		}
	}
}

func (r *reconciler) measure(s plan.State, p plan.Plan) {
	measure(s.Images, p)
	measurePulls(r.previous, p.Classes)
	r.previous = map[string]*warmth.Warmth{}
	for _, cp := range p.Classes {
		r.previous[cp.Name] = cp.Warmth
	}
}

// act gives the DaemonSets their new lists. It returns true if the cache is behind what is stored.
func (r *reconciler) act(ctx context.Context, s plan.State, p plan.Plan) (bool, error) {
	wrote, behind, err := r.carryOut(ctx, s, p.Roll, p.DeleteEmpty)
	if wrote && !behind {
		r.debounce.Done(time.Now())
	}
	return behind, err
}

// carryOut writes and deletes DaemonSets, all that it can. It returns whether there was anything to do, and true if the
// cache is behind what is stored.
func (r *reconciler) carryOut(ctx context.Context, s plan.State, write, remove []*appsv1.DaemonSet) (any, behind bool, err error) {
	var errs []error
	for _, ds := range write {
		err := r.write(ctx, s.DaemonSet(ds.Name), ds)
		delete(r.refused, ds.Name)
		switch {
		case apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err):
			behind = true
		case err != nil:
			r.refused[ds.Name] = refusal(err)
			errs = append(errs, err)
		default:
			revisionsMetric.Inc()
			log.FromContext(ctx).Info("wrote DaemonSet", "daemonSet", ds.Name, "images", len(plan.ListOf(ds)))
		}
	}
	for _, ds := range remove {
		uid := ds.UID
		err := r.client.Delete(ctx, ds, client.PropagationPolicy(metav1.DeletePropagationBackground), client.Preconditions{UID: &uid})
		switch {
		case apierrors.IsConflict(err):
			behind = true
		case client.IgnoreNotFound(err) != nil:
			errs = append(errs, fmt.Errorf("deleting DaemonSet %s: %w", ds.Name, err))
		default:
			log.FromContext(ctx).Info("deleted DaemonSet", "daemonSet", ds.Name)
		}
	}
	return len(write)+len(remove) > 0, behind, errors.Join(errs...)
}

// refusal is what the API server said of a write, without what it was about.
func refusal(err error) string {
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		return warmth.PlainMessage(status.Status().Message, string(status.Status().Reason))
	}
	return warmth.PlainMessage(err.Error(), "")
}

// write creates a DaemonSet, or replaces the spec of the stored one.
func (r *reconciler) write(ctx context.Context, stored, desired *appsv1.DaemonSet) error {
	if stored == nil {
		next := desired.DeepCopy()
		if err := r.client.Create(ctx, next, reconcilerOwner); err != nil {
			return fmt.Errorf("creating DaemonSet %s: %w", desired.Name, err)
		}
		r.accepted[desired.Name] = plan.AcceptedHash(&next.Spec)
		return nil
	}
	next := stored.DeepCopy()
	next.Spec = *desired.Spec.DeepCopy()
	metav1.SetMetaDataAnnotation(&next.ObjectMeta, plan.AnnotationSpecHash, desired.Annotations[plan.AnnotationSpecHash])
	for key, value := range desired.Labels {
		metav1.SetMetaDataLabel(&next.ObjectMeta, key, value)
	}
	if err := r.client.Update(ctx, next, reconcilerOwner); err != nil {
		return fmt.Errorf("updating DaemonSet %s: %w", desired.Name, err)
	}
	if next.ResourceVersion == stored.ResourceVersion {
		// It was right, and only read differently: API servers of two versions do not default the same fields.
		next = stored
	}
	r.accepted[desired.Name] = plan.AcceptedHash(&next.Spec)
	return nil
}

// report writes statuses, all that it can, and returns when to write those that were left for later; zero if none was.
func (r *reconciler) report(ctx context.Context, p plan.Plan, now time.Time) (time.Time, error) {
	if len(p.Quarantined) > 0 {
		quarantinesMetric.Add(float64(len(p.Quarantined)))
		log.FromContext(ctx).Info("images cannot be pulled; PrepullImage status says why", "images", p.Quarantined)
	}
	var again time.Time
	var errs []error
	tried := 0
	for _, c := range p.Statuses {
		due := now
		if c.Progress {
			due = r.progressed[c.Name].Add(r.options.Clocks.ProgressInterval)
		}
		if due.After(now) || tried == statusBatch {
			if again.IsZero() || due.Before(again) {
				again = due
			}
			continue
		}
		tried++
		version, err := r.patchStatus(ctx, c)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		r.progressed[c.Name] = now
		r.tell(ctx, c, version)
	}
	r.forget(now)
	return again, errors.Join(errs...)
}

// forget drops what has no effect any more.
func (r *reconciler) forget(now time.Time) {
	for name, t := range r.progressed {
		if now.Sub(t) > r.options.Clocks.ProgressInterval {
			delete(r.progressed, name)
			delete(r.told, name)
		}
	}
}

// patchStatus leaves the learner's fields as they are, and returns the resource version that it made. An object that is
// gone needs no status.
func (r *reconciler) patchStatus(ctx context.Context, c plan.StatusChange) (string, error) {
	patch, err := json.Marshal(map[string]plan.Observed{"status": c.Status})
	if err != nil {
		return "", fmt.Errorf("encoding the status of PrepullImage %s: %w", c.Name, err)
	}
	object := &v1alpha1.PrepullImage{ObjectMeta: metav1.ObjectMeta{Name: c.Name}}
	err = r.client.Status().Patch(ctx, object, client.RawPatch(types.MergePatchType, patch), reconcilerOwner)
	if err != nil && !apierrors.IsNotFound(err) {
		return "", fmt.Errorf("writing the status of PrepullImage %s: %w", c.Name, err)
	}
	return object.ResourceVersion, nil
}

// key is the only request.
var key = ctrl.Request{NamespacedName: types.NamespacedName{Name: v1alpha1.Name}}
