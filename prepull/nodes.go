package prepull

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/kube-prepull/kube-prepull/prepull/workload"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/kube-prepull/kube-prepull/api/clock"
	"github.com/kube-prepull/kube-prepull/prepull/plan"
	"github.com/kube-prepull/kube-prepull/prepull/untaint"
)

// How many conditions a pass writes at most: those that turn, and those of which only the message changes. After a new image
// each node of thousands has other words, and nobody waits for these.
const (
	conditionBatch = 100
	wordsBatch     = 10
)

// nodeWriter untaints nodes and writes their conditions. What it remembers saves writes, and bounds how long a node is held
// if the manager's clock is wrong.
type nodeWriter struct {
	client  client.Client
	gate    plan.Gate
	clocks  clock.Clocks
	metrics *gateMetrics

	// held is since when nodes are known to be held.
	held map[types.UID]time.Time

	// worded is when a condition was written last, by the UID of its node.
	worded map[types.UID]time.Time

	// refused are the versions of the nodes that could not be written in the last pass.
	refused map[types.UID]string
}

func newNodeWriter(c client.Client, g plan.Gate, clocks clock.Clocks, m *gateMetrics) *nodeWriter {
	return &nodeWriter{client: c, gate: g, clocks: clocks, metrics: m, held: map[types.UID]time.Time{}, worded: map[types.UID]time.Time{}}
}

// see remembers which nodes are held.
func (w *nodeWriter) see(nodes []corev1.Node, now time.Time) map[types.UID]time.Time {
	held := map[types.UID]time.Time{}
	for i := range nodes {
		if n := &nodes[i]; len(w.gate.TaintsOf(n)) > 0 {
			since, known := w.held[n.UID]
			if !known {
				since = now
			}
			held[n.UID] = since
		}
	}
	w.held = held
	return held
}

// act untaints nodes and writes conditions, all that it can, and returns when to write those that were left for later; zero
// if none was. A node that is gone, or not as it was, is left to the next pass.
func (w *nodeWriter) act(ctx context.Context, p plan.Plan, now time.Time) (time.Time, error) {
	var again time.Time
	var errs []error
	refused := map[types.UID]string{}
	later := func(t time.Time) {
		if again.IsZero() || t.Before(again) {
			again = t
		}
	}
	for _, r := range p.Releases {
		switch err := w.release(ctx, r); {
		case w.outdated(err, r.UID, r.Version):
			refused[r.UID] = r.Version
			later(now.Add(w.clocks.PassPace))
		case err != nil:
			refused[r.UID] = r.Version
			errs = append(errs, fmt.Errorf("taking the taint %s from node %s: %w", w.gate.TaintKey, r.Node, err))
		}
	}
	turned, reworded := 0, 0
	for _, c := range p.Conditions {
		done, most, due := &turned, conditionBatch, now
		if c.Minor {
			done, most = &reworded, wordsBatch
			if again := w.worded[c.UID].Add(w.clocks.ProgressInterval); again.After(now) {
				due = again
			}
		}
		if due.After(now) || *done == most {
			later(due)
			continue
		}
		*done++
		switch err := w.writeCondition(ctx, c); {
		case w.outdated(err, c.UID, c.Version):
			refused[c.UID] = c.Version
			later(now.Add(w.clocks.PassPace))
		case err != nil:
			refused[c.UID] = c.Version
			errs = append(errs, fmt.Errorf("writing the condition of node %s: %w", c.Node, err))
		default:
			w.worded[c.UID] = now
		}
	}
	w.refused = refused
	maps.DeleteFunc(w.worded, func(_ types.UID, t time.Time) bool { return now.Sub(t) > w.clocks.ProgressInterval })
	return again, errors.Join(errs...)
}

// outdated tells whether a node is gone, another one of the same name, or not what the manager's cache said. If the cache
// says the same the next time, that is not why: a policy of the cluster refuses with the same answer.
func (w *nodeWriter) outdated(err error, node types.UID, version string) bool {
	last, refused := w.refused[node]
	return apierrors.IsNotFound(err) || apierrors.IsConflict(err) || apierrors.IsInvalid(err) && !(refused && last == version)
}

// release takes the taints from a node, tells how long it was held, and if it lacks images also whoever looks at the node.
func (w *nodeWriter) release(ctx context.Context, r plan.Release) error {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: r.Node}}
	if err := w.client.Patch(ctx, node, client.RawPatch(types.JSONPatchType, untaint.Patch(r.UID, r.Taints)), reconcilerOwner); err != nil {
		return err
	}
	w.metrics.releases.WithLabelValues(string(r.Reason)).Inc()
	w.metrics.heldSeconds.Observe(r.Held.Seconds())
	log.FromContext(ctx).Info("untainted a node", "node", r.Node, "reason", r.Reason, "held", r.Held.Round(time.Millisecond).String())
	if r.Words == "" {
		return nil
	}
	reason := "ImagesNotReady"
	if r.Reason == plan.ReleaseDeadline {
		reason = "ImagesNotReadyInTime"
	}
	about := corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: r.Node, UID: r.UID}
	event := workload.NewEvent(about, corev1.EventTypeWarning, reason, r.Words, metav1.Now(), string(r.UID), reason, r.Version)
	if err := w.client.Create(ctx, event); err != nil {
		log.FromContext(ctx).Error(err, "no Event tells that a node was untainted", "node", r.Node)
	}
	return nil
}

// writeCondition adds the condition of a node to those of others, or replaces it.
func (w *nodeWriter) writeCondition(ctx context.Context, c plan.ConditionChange) error {
	patch := map[string]any{
		"metadata": map[string]any{"uid": c.UID},
		"status": map[string]any{"conditions": []map[string]any{{
			"type": c.Condition.Type, "status": c.Condition.Status, "reason": c.Condition.Reason, "message": c.Condition.Message,
			"lastTransitionTime": c.Condition.LastTransitionTime,
		}}},
	}
	encoded, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: c.Node}}
	return w.client.Status().Patch(ctx, node, client.RawPatch(types.StrategicMergePatchType, encoded), reconcilerOwner)
}
