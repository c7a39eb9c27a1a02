package nodeclass

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/component-helpers/scheduling/corev1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// WhyNowhere says why an image has a use in no class. image is its index, as Classify was given it, and placements are its own.
func (c classification) WhyNowhere(image int, placements []v1alpha1.Placement) string {
	if c.onVirtual[image] {
		return "Only virtual nodes match what its pods ask of a node, and these run no DaemonSet pods."
	}
	var missing []string
	for _, p := range placements {
		for _, name := range p.Resources {
			if c.unoffered[name] && !slices.Contains(missing, name) {
				missing = append(missing, name)
			}
		}
	}
	if len(missing) > 0 {
		return "No node offers " + strings.Join(missing, ", ") + "."
	}
	return "No Linux node matches what its pods ask of a node."
}

// Unfit says why the scheduler would let no pod with a placement, which is one without a RuntimeClass, start on a node,
// whatever the node's room and state; empty if it would.
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
	for _, name := range asked.Resources {
		if !Offers(n, name) {
			return "the node does not offer " + name
		}
	}
	if taint, repelled := schedulingv1.FindMatchingUntoleratedTaint(logr.Discard(), n.Spec.Taints, p.tolerations, lasts, true); repelled {
		return fmt.Sprintf("the taint %s of the node is not tolerated", taint.ToString())
	}
	return "the node is not one that the required node affinity allows"
}
