package prepull

import (
	"context"
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/credentials"
	"github.com/kube-prepull/kube-prepull/prepull/plan"
	"github.com/kube-prepull/kube-prepull/prepull/untaint"
)

// NodeMarks are what the reconciler wrote on nodes, or waits to take from them.
type NodeMarks struct {
	// Condition is set if nodes were given the condition ImagesReady.
	Condition bool

	// TaintKey is the key of the gate's taint; empty if there is no gate.
	TaintKey string
}

// Cleanup deletes what the reconciler and the learner made: the prepull DaemonSets and the copies of pull secrets in a
// namespace, and the learned PrepullImages. Declared ones stay: they belong to whoever wrote them. Call it when no manager runs any more.
func Cleanup(ctx context.Context, c client.Client, namespace string) error {
	err := c.DeleteAllOf(ctx, &appsv1.DaemonSet{}, client.InNamespace(namespace), client.MatchingLabels(v1alpha1.PrepullLabels()),
		client.PropagationPolicy(metav1.DeletePropagationBackground))
	if err != nil {
		return fmt.Errorf("deleting the prepull DaemonSets: %w", err)
	}
	if err := credentials.DeleteCopies(ctx, c, namespace); err != nil {
		return err
	}
	err = c.DeleteAllOf(ctx, &v1alpha1.PrepullImage{}, client.MatchingLabels{v1alpha1.LabelManagedBy: v1alpha1.Name})
	if err != nil && !meta.IsNoMatchError(err) && client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("deleting the learned PrepullImages: %w", err)
	}
	return nil
}

// CleanupNodes takes marks from all nodes: nobody would keep a condition right any more, or take away a taint. Call it when
// no manager runs any more. It does all that it can, and may be called again after an error.
func CleanupNodes(ctx context.Context, c client.Client, marks NodeMarks) error {
	if marks == (NodeMarks{}) {
		return nil
	}
	var nodes corev1.NodeList
	if err := c.List(ctx, &nodes); err != nil {
		return fmt.Errorf("listing nodes: %w", err)
	}
	var errs []error
	for i := range nodes.Items {
		n := &nodes.Items[i]
		if marks.TaintKey != "" {
			if _, err := untaint.Node(ctx, c, n, marks.TaintKey); client.IgnoreNotFound(err) != nil {
				errs = append(errs, fmt.Errorf("taking the taint %s from node %s: %w", marks.TaintKey, n.Name, err))
			}
		}
		if marks.Condition && plan.ConditionOf(n) != nil {
			err := c.Status().Patch(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.Name}}, client.RawPatch(types.StrategicMergePatchType, []byte(withoutCondition)))
			if client.IgnoreNotFound(err) != nil {
				errs = append(errs, fmt.Errorf("taking the condition from node %s: %w", n.Name, err))
			}
		}
	}
	return errors.Join(errs...)
}

// withoutCondition is a strategic merge patch that takes our condition from a node.
const withoutCondition = `{"status":{"conditions":[{"$patch":"delete","type":"` + v1alpha1.ConditionImagesReady + `"}]}}`
