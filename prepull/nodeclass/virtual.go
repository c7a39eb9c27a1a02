package nodeclass

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// virtualLabels are of nodes that stand for a service which runs pods: they have no disk of their own, and run no DaemonSet
// pods. Virtual Kubelet gives its nodes the type (NewNode in node/nodeutil/controller.go of virtual-kubelet/virtual-kubelet),
// EKS the compute type to those of Fargate, where "Daemonsets aren't supported" (Simplify compute management with AWS Fargate).
var virtualLabels = []label{
	{"eks.amazonaws.com/compute-type", "fargate"},
	{"type", "virtual-kubelet"},
}

// virtualTaint is the key of the taint of Virtual Kubelet's nodes. Some providers give them other labels.
const virtualTaint = "virtual-kubelet.io/provider"

// VirtualBy says by which of its labels or taints a node is known to run no DaemonSet pods; empty if it may run them.
func VirtualBy(n *corev1.Node) string {
	for _, l := range virtualLabels {
		if n.Labels[l.key] == l.value {
			return "label " + l.key + "=" + l.value
		}
	}
	if slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == virtualTaint }) {
		return "taint " + virtualTaint
	}
	return ""
}

// divideVirtual tells the nodes that run no DaemonSet pods from the others.
func divideVirtual(nodes []corev1.Node) (real, virtual []*corev1.Node) {
	real = make([]*corev1.Node, 0, len(nodes))
	for i := range nodes {
		if n := &nodes[i]; VirtualBy(n) != "" {
			virtual = append(virtual, n)
		} else {
			real = append(real, n)
		}
	}
	return real, virtual
}

// notVirtual are the requirements that keep pods off the nodes that are known by a label.
func notVirtual() []corev1.NodeSelectorRequirement {
	requirements := make([]corev1.NodeSelectorRequirement, 0, len(virtualLabels))
	for _, l := range virtualLabels {
		requirements = append(requirements, Require(l.key, corev1.NodeSelectorOpNotIn, l.value))
	}
	return requirements
}

// leaveOut notes which images could use nodes that have no class, and keeps pods off them that tolerate everything.
func (c *classification) leaveOut(virtual []*corev1.Node, asked placementIndex) {
	carried, _ := asked.keysOn(virtual)
	offered, _ := supplyOf(virtual, asked.resources(), time.Time{})
	c.onVirtual = asked.fitOn(shapesOf(virtual, traitsOf(carried, offered), offered), offered)
	for _, class := range c.Classes {
		if !class.anyTaints {
			continue
		}
		for _, n := range virtual {
			labelled := func(l label) bool { return n.Labels[l.key] == l.value }
			if !slices.ContainsFunc(virtualLabels, labelled) {
				class.virtual = append(class.virtual, n)
			}
		}
	}
}
