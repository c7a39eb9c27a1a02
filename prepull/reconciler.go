package prepull

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/credentials"
	"github.com/kube-prepull/kube-prepull/prepull/nodeclass"
	"github.com/kube-prepull/kube-prepull/prepull/plan"
	"github.com/kube-prepull/kube-prepull/prepull/warmth"
)

// reconcilerOwner of what the reconciler writes.
const reconcilerOwner = client.FieldOwner("kube-prepull")

// reconciler keeps the prepull DaemonSets and the statuses of the PrepullImages right. It works on the cluster as a
// whole, so there is one request for everything. What its writers remember only saves writes: a new leader carries on
// without.
type reconciler struct {
	client      client.Client
	options     Options
	credentials *credentials.Keeper
	nodes       *nodeWriter
	daemonSets  *daemonSetWriter
	statuses    *statusWriter
	refusedPods refusedPods
	mirrors     mirrors
	metrics     *metrics

	// firstResyncDone is set once the resync has looked at all namespaces for the first time.
	firstResyncDone *atomic.Bool

	// previous is how far the classes were in the pass before, by name.
	previous map[string]*warmth.Warmth
}

// Reconcile observes, plans, untaints nodes, writes the DaemonSets that differ and then the statuses. The order matters:
// while new images wait to be written, the statuses are about to change too. What is refused holds up nothing else.
func (r *reconciler) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	resynced := r.firstResyncDone.Load()
	s, err := r.observe(ctx)
	if err != nil {
		return reconcile.Result{}, err
	}
	now := time.Now()
	known := r.credentials.Known()
	known.Hide(s.Pods)
	s.Pulls, s.Held = known.Pulls, r.nodes.see(s.Nodes, now)
	var mirrorErr error
	s.Mirrored, mirrorErr = r.mirrors.look(ctx, s.Pods, now)
	p := plan.Make(s, r.options.Options, now)
	r.credentials.Need(known, plan.NeededKeys(p.Classes), s.DaemonSets)
	if !known.Complete {
		again, err := r.nodes.act(ctx, p.Overdue(), now)
		// Nothing tells when a deadline passes of a node that could be untainted already.
		return reconcile.Result{RequeueAfter: r.soonest(now, again, now.Add(r.options.Clocks.SecretRetry))}, errors.Join(err, mirrorErr)
	}
	r.measure(s, p)
	refusedAgain, refusedErr := r.lookForRefusedPods(ctx, &s, &p, now)
	nodesAgain, nodesErr := r.markNodes(ctx, p, resynced, now)
	listsAgain, gathering, listsErr := r.daemonSets.act(ctx, s, p, now)
	err = errors.Join(mirrorErr, refusedErr, nodesErr, listsErr)
	if gathering {
		return reconcile.Result{RequeueAfter: r.soonest(now, refusedAgain, nodesAgain, listsAgain, p.Next)}, err
	}
	statusesAgain, statusErr := r.statuses.act(ctx, p, now)
	if err := errors.Join(err, statusErr); err != nil {
		return reconcile.Result{}, err
	}
	return reconcile.Result{RequeueAfter: r.soonest(now, refusedAgain, nodesAgain, listsAgain, statusesAgain, p.Next)}, nil
}

// lookForRefusedPods finds out why nodes lack prepull pods, if some do, and plans again if that has changed. What refuses pods
// may be their image volumes. It returns when to look again, zero if no node lacks one.
func (r *reconciler) lookForRefusedPods(ctx context.Context, s *plan.State, p *plan.Plan, now time.Time) (time.Time, error) {
	again, changed, err := r.refusedPods.look(ctx, p.LacksPods, s.Pods, now)
	if err != nil || !changed {
		return again, err
	}
	err = r.daemonSets.retryVolumes(ctx, s, r.refusedPods.words)
	s.RefusedPods, s.NoImageVolumes = r.refusedPods.words, r.daemonSets.noVolumes
	*p = plan.Make(*s, r.options.Options, now)
	return again, err
}

// stopping tells whether this manager was told to stop.
func (r *reconciler) stopping() bool { return r.options.Stopping != nil && r.options.Stopping() }

// markNodes untaints nodes and writes their conditions, and returns when to look again, zero if there is nothing to wait
// for. Who does not know all that pods use only lets go of nodes whose time is over: before the first resync a node may seem to
// need nothing, because what its pods use was never learned, or not while no manager ran; and a manager that was told to stop is
// called no more.
func (r *reconciler) markNodes(ctx context.Context, p plan.Plan, resynced bool, now time.Time) (time.Time, error) {
	if resynced && !r.stopping() || len(p.Releases)+len(p.Conditions) == 0 {
		return r.nodes.act(ctx, p, now)
	}
	_, err := r.nodes.act(ctx, p.Overdue(), now)
	return now.Add(r.options.Clocks.FirstResyncPace), err
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
		classes    nodev1.RuntimeClassList
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
	if err := r.client.List(ctx, &classes, client.UnsafeDisableDeepCopy); err != nil {
		return plan.State{}, fmt.Errorf("listing RuntimeClasses: %w", err)
	}
	s := plan.State{Images: images.Items, Nodes: nodes.Items, RuntimeClasses: nodeclass.RuntimeClassesOf(classes.Items), Accepted: r.daemonSets.accepted, Refused: r.daemonSets.refused, RefusedPods: r.refusedPods.words, NoImageVolumes: r.daemonSets.noVolumes}
	failed := warmth.PullEvents(events.Items)
	for i := range pods.Items {
		s.Pods = append(s.Pods, warmth.WithPullEvents(&pods.Items[i], failed))
	}
	for i := range daemonSets.Items {
		s.DaemonSets = append(s.DaemonSets, &daemonSets.Items[i])
	}
	return s, nil
}

func (r *reconciler) measure(s plan.State, p plan.Plan) {
	r.metrics.measure(s.Images, p)
	r.metrics.measurePulls(r.previous, p.Classes)
	r.previous = map[string]*warmth.Warmth{}
	for _, cp := range p.Classes {
		r.previous[cp.Name] = cp.Warmth
	}
}

// key is the only request.
var key = ctrl.Request{NamespacedName: types.NamespacedName{Name: v1alpha1.Name}}
