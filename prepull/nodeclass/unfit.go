package nodeclass

import (
	"fmt"
	"maps"
	"slices"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/component-helpers/scheduling/corev1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// Unfit says why the scheduler would let no pod with a placement start on a node, whatever the node's room and state; empty
// if it would.
func Unfit(n *corev1.Node, asked *v1alpha1.Placement) string {
	p := NewPlacement(asked)
	if Fits(n, p) {
		return ""
	}
	for _, key := range slices.Sorted(maps.Keys(asked.NodeSelector)) {
		want := asked.NodeSelector[key]
		if has, found := n.Labels[key]; !found {
			return fmt.Sprintf("the node has no label %s, and %s is asked for", key, want)
		} else if has != want {
			return fmt.Sprintf("the node has the label %s=%s, and %s is asked for", key, has, want)
		}
	}
	if taint, repelled := schedulingv1.FindMatchingUntoleratedTaint(logr.Discard(), n.Spec.Taints, p.tolerations, lasts, true); repelled {
		return fmt.Sprintf("the taint %s of the node is not tolerated", taint.ToString())
	}
	return "the node is not one that the required node affinity allows"
}
