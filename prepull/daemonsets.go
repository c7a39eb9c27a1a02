package prepull

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/kube-prepull/kube-prepull/api/admission"
	"github.com/kube-prepull/kube-prepull/api/clock"
	"github.com/kube-prepull/kube-prepull/prepull/plan"
	"github.com/kube-prepull/kube-prepull/prepull/warmth"
)

// daemonSetWriter writes the prepull DaemonSets of a plan, when it is their time.
type daemonSetWriter struct {
	client    client.Client
	clocks    clock.Clocks
	metrics   *metrics
	noopImage string

	debounces plan.Debounces

	// updating is since when DaemonSets are to be updated in place; zero if none is.
	updating time.Time

	// accepted are the hashes of the DaemonSet specs that the API server made of what was written last, by name.
	accepted map[string]string

	// refused are the words with which the API server refused to write a DaemonSet, by name.
	refused map[string]string

	// takesVolumes is set once the API server was seen to take pods with image volumes, and noVolumes if it does not.
	takesVolumes, noVolumes bool
}

// errNoVolumes is no fault: the next plan brings all images.
var errNoVolumes = errors.New("the API server takes no image volumes")

func newDaemonSetWriter(c client.Client, o Options, m *metrics) *daemonSetWriter {
	return &daemonSetWriter{
		client: c, clocks: o.Clocks, metrics: m, noopImage: o.NoopImage,
		debounces: plan.Debounces{Clocks: o.Clocks}, accepted: map[string]string{}, refused: map[string]string{},
	}
}

// act writes what is due, all that it can, and returns when to come again, zero if there is nothing to wait for. gathering is
// set while changes are gathered that are no images which fail: what is there now is about to change.
func (w *daemonSetWriter) act(ctx context.Context, s plan.State, p plan.Plan, now time.Time) (again time.Time, gathering bool, err error) {
	w.accept(s, p)
	skipErr := errors.Join(w.skip(ctx, p.Skips, now), w.ungate(ctx, p.Ungate))
	waits := w.debounces.Wait(p.Classes, now)
	roll, remove := waits.Due(p.Roll), waits.Due(p.DeleteEmpty)
	gathering = len(roll)+len(remove) == 0 && w.debounces.Gathering(waits)
	again, err = w.updateIfDue(ctx, s, p, roll, now)
	if wait := waits.Shortest(); wait > 0 {
		again = earliest(again, now.Add(wait))
	}
	behind, rollErr := w.carryOut(ctx, s, roll, remove)
	if behind {
		return earliest(again, now.Add(w.clocks.PassPace)), gathering, errors.Join(err, skipErr, rollErr)
	}
	w.debounces.Done(slices.Concat(roll, remove), time.Now())
	return again, gathering, errors.Join(err, skipErr, rollErr)
}

// accept remembers the DaemonSets that were found as they should be: what a new leader compares once at length.
func (w *daemonSetWriter) accept(s plan.State, p plan.Plan) {
	differ := map[string]bool{}
	for _, ds := range slices.Concat(p.Roll, p.UpdateInPlace, p.DeleteEmpty, p.DeleteOrphaned) {
		differ[ds.Name] = true
	}
	for _, ds := range s.DaemonSets {
		if _, known := w.accepted[ds.Name]; !known && !differ[ds.Name] && ds.DeletionTimestamp == nil {
			w.accepted[ds.Name] = plan.AcceptedHash(&ds.Spec)
		}
	}
}

// updateIfDue carries out the changes of where pods run, a moment after the first of them was seen: nodes of a new pool
// come together. It returns when to look again, zero if there is nothing to wait for. roll are the DaemonSets that are about to
// be written anyway, with a new list.
func (w *daemonSetWriter) updateIfDue(ctx context.Context, s plan.State, p plan.Plan, roll []*appsv1.DaemonSet, now time.Time) (time.Time, error) {
	if len(p.UpdateInPlace)+len(p.DeleteOrphaned)+len(p.DeletePods) == 0 {
		w.updating = time.Time{}
		return time.Time{}, nil
	}
	if w.updating.IsZero() {
		w.updating = now
	}
	if due := w.updating.Add(w.clocks.MoveGather); now.Before(due) {
		return due, nil
	}
	w.updating = time.Time{}
	inPlace := slices.DeleteFunc(slices.Clone(p.UpdateInPlace), func(ds *appsv1.DaemonSet) bool {
		return slices.ContainsFunc(roll, func(rolled *appsv1.DaemonSet) bool { return rolled.Name == ds.Name })
	})
	behind, err := w.carryOut(ctx, s, inPlace, p.DeleteOrphaned)
	if err != nil {
		// What is refused is tried again, but not each second.
		w.updating = now.Add(w.clocks.MinGap)
	}
	for _, pod := range p.DeletePods {
		uid := pod.UID
		if err := w.client.Delete(ctx, pod, client.Preconditions{UID: &uid}); client.IgnoreNotFound(err) != nil && !apierrors.IsConflict(err) {
			return time.Time{}, fmt.Errorf("deleting prepull pod %s: %w", pod.Name, err)
		}
	}
	if behind {
		return now.Add(w.clocks.PassPace), err
	}
	return time.Time{}, err
}

// carryOut writes and deletes DaemonSets, all that it can. It returns true if the cache is behind what is stored.
func (w *daemonSetWriter) carryOut(ctx context.Context, s plan.State, write, remove []*appsv1.DaemonSet) (behind bool, err error) {
	var errs []error
	for _, ds := range write {
		err := w.write(ctx, s.DaemonSet(ds.Name), ds)
		delete(w.refused, ds.Name)
		switch {
		case apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err):
			behind = true
		case errors.Is(err, errNoVolumes):
			log.FromContext(ctx).Info("the API server drops or refuses image volumes: init containers hold all images", "daemonSet", ds.Name)
			behind = true
		case err != nil:
			w.refused[ds.Name] = refusal(err)
			errs = append(errs, err)
		default:
			w.metrics.revisions.Inc()
			log.FromContext(ctx).Info("wrote DaemonSet", "daemonSet", ds.Name, "images", len(plan.ListOf(ds)))
		}
	}
	for _, ds := range remove {
		uid := ds.UID
		err := w.client.Delete(ctx, ds, client.PropagationPolicy(metav1.DeletePropagationBackground), client.Preconditions{UID: &uid})
		switch {
		case apierrors.IsConflict(err):
			behind = true
		case client.IgnoreNotFound(err) != nil:
			errs = append(errs, fmt.Errorf("deleting DaemonSet %s: %w", ds.Name, err))
		default:
			log.FromContext(ctx).Info("deleted DaemonSet", "daemonSet", ds.Name)
		}
	}
	return behind, errors.Join(errs...)
}

// write creates a DaemonSet, or replaces the spec of the stored one. Before the first image volumes are written, a pod with
// them is tried. What was stored is looked at each time: another API server may be older.
func (w *daemonSetWriter) write(ctx context.Context, stored, desired *appsv1.DaemonSet) error {
	held := plan.HeldIn(&desired.Spec.Template.Spec)
	if held > 0 && !w.takesVolumes {
		takes, err := w.admitsVolumes(ctx, desired)
		if err != nil {
			return err
		}
		if w.takesVolumes, w.noVolumes = takes, !takes; !takes {
			return errNoVolumes
		}
	}
	next, err := w.store(ctx, stored, desired)
	if err != nil {
		return err
	}
	w.accepted[desired.Name] = plan.AcceptedHash(&next.Spec)
	if plan.HeldIn(&next.Spec.Template.Spec) < held {
		w.takesVolumes, w.noVolumes = false, true
		return errNoVolumes
	}
	return nil
}

// admitsVolumes tries a pod of a DaemonSet, as a dry run. Old API servers drop image volumes and their mounts from what they
// store: such a pod would be ready and have pulled nothing. Policies for pods that list the kinds of volumes may not know this
// one: no such pod would be made. A pod that is refused without image volumes too says nothing about them.
func (w *daemonSetWriter) admitsVolumes(ctx context.Context, ds *appsv1.DaemonSet) (bool, error) {
	tried, err := w.tryPod(ctx, ds, ds.Spec.Template.Spec)
	if err == nil {
		return plan.HeldIn(&tried.Spec) == plan.HeldIn(&ds.Spec.Template.Spec), nil
	}
	if !admission.Refused(err) {
		return false, err
	}
	_, without := w.tryPod(ctx, ds, plan.WithoutHeld(ds.Spec.Template.Spec))
	return without != nil, nil
}

// retryVolumes tries again whether image volumes are taken, where the pods of a stored DaemonSet with some are refused.
func (w *daemonSetWriter) retryVolumes(ctx context.Context, s *plan.State, refused map[string]string) error {
	for _, ds := range s.DaemonSets {
		if refused[ds.Name] == "" || plan.HeldIn(&ds.Spec.Template.Spec) == 0 {
			continue
		}
		takes, err := w.admitsVolumes(ctx, ds)
		if err != nil {
			return err
		}
		if !takes {
			log.FromContext(ctx).Info("pods with image volumes are refused: init containers hold all images", "daemonSet", ds.Name)
			w.takesVolumes, w.noVolumes = false, true
		}
	}
	return nil
}

// tryPod lets the API server admit a pod of a DaemonSet, and returns what it would store.
func (w *daemonSetWriter) tryPod(ctx context.Context, ds *appsv1.DaemonSet, spec corev1.PodSpec) (*corev1.Pod, error) {
	template := ds.Spec.Template.DeepCopy()
	pod := &corev1.Pod{ObjectMeta: template.ObjectMeta, Spec: *spec.DeepCopy()}
	pod.Namespace, pod.GenerateName = ds.Namespace, ds.Name+"-"
	if err := w.client.Create(ctx, pod, client.DryRunAll, reconcilerOwner); err != nil {
		return nil, fmt.Errorf("trying a pod of DaemonSet %s: %w", ds.Name, err)
	}
	return pod, nil
}

// store creates or updates a DaemonSet, and returns what is stored then.
func (w *daemonSetWriter) store(ctx context.Context, stored, desired *appsv1.DaemonSet) (*appsv1.DaemonSet, error) {
	if stored == nil {
		next := desired.DeepCopy()
		if err := w.client.Create(ctx, next, reconcilerOwner); err != nil {
			return nil, fmt.Errorf("creating DaemonSet %s: %w", desired.Name, err)
		}
		return next, nil
	}
	next := stored.DeepCopy()
	next.Spec = *desired.Spec.DeepCopy()
	metav1.SetMetaDataAnnotation(&next.ObjectMeta, plan.AnnotationSpecHash, desired.Annotations[plan.AnnotationSpecHash])
	for key, value := range desired.Labels {
		metav1.SetMetaDataLabel(&next.ObjectMeta, key, value)
	}
	if err := w.client.Update(ctx, next, reconcilerOwner); err != nil {
		return nil, fmt.Errorf("updating DaemonSet %s: %w", desired.Name, err)
	}
	if next.ResourceVersion == stored.ResourceVersion {
		// It was right, and only read differently: API servers of two versions do not default the same fields.
		next = stored
	}
	return next, nil
}

// refusal is what the API server said of a write, without what it was about.
func refusal(err error) string {
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		return warmth.PlainMessage(status.Status().Message, string(status.Status().Reason))
	}
	return warmth.PlainMessage(err.Error(), "")
}

// earliest of two times, of which a zero one does not count.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
