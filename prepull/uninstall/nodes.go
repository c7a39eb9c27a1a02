package uninstall

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/plan"
	"github.com/kube-prepull/kube-prepull/prepull/untaint"
)

// untaint takes the taint from all nodes. Managers never put one on a node, so it need not wait for them.
func (r remover) untaint(ctx context.Context) error {
	if r.options.TaintKey == "" {
		return nil
	}
	return r.eachNode(ctx, r.untaintNode)
}

// unmark takes all that is ours from nodes, the taint once more: a node may have joined meanwhile.
func (r remover) unmark(ctx context.Context) error {
	if !r.options.Condition {
		return r.untaint(ctx)
	}
	return r.eachNode(ctx, func(ctx context.Context, n *corev1.Node) error {
		return errors.Join(r.untaintNode(ctx, n), r.takeCondition(ctx, n))
	})
}

func (r remover) eachNode(ctx context.Context, do func(context.Context, *corev1.Node) error) error {
	var nodes corev1.NodeList
	if err := r.client.List(ctx, &nodes); err != nil {
		return fmt.Errorf("listing nodes: %w", err)
	}
	var errs []error
	for i := range nodes.Items {
		errs = append(errs, do(ctx, &nodes.Items[i]))
	}
	return errors.Join(errs...)
}

func (r remover) untaintNode(ctx context.Context, n *corev1.Node) error {
	if r.options.TaintKey == "" {
		return nil
	}
	had, err := untaint.Node(ctx, r.client, n, r.options.TaintKey)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("taking the taint %s from node %s: %w", r.options.TaintKey, n.Name, err)
	}
	if had && err == nil {
		r.options.Tell("node/" + n.Name + " untainted")
	}
	return nil
}

// withoutCondition is a strategic merge patch that takes our condition from a node.
const withoutCondition = `{"status":{"conditions":[{"$patch":"delete","type":"` + v1alpha1.ConditionImagesReady + `"}]}}`

func (r remover) takeCondition(ctx context.Context, n *corev1.Node) error {
	if plan.ConditionOf(n) == nil {
		return nil
	}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.Name}}
	err := r.client.Status().Patch(ctx, node, client.RawPatch(types.StrategicMergePatchType, []byte(withoutCondition)))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("taking the condition from node %s: %w", n.Name, err)
	}
	if err == nil {
		r.options.Tell("node/" + n.Name + " has no condition " + v1alpha1.ConditionImagesReady + " any more")
	}
	return nil
}
