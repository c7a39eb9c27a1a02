package prepull

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// nodeClass is a set of nodes that one prepull DaemonSet serves.
type nodeClass struct {
	name     string
	os, arch string

	// nodes are all nodes of the class, by name.
	nodes []*corev1.Node

	// waiting are the nodes of the class that can be expected to pull now, by name. Only these count.
	waiting []*corev1.Node
}

// classify sorts nodes into classes by operating system and architecture, in the order of their names. Nodes of another
// system than Linux, and nodes without these labels, have no class: no pod of ours could start there.
func classify(nodes []corev1.Node) []*nodeClass {
	byName := map[string]*nodeClass{}
	var classes []*nodeClass
	for i := range nodes {
		n := &nodes[i]
		os, arch := n.Labels[corev1.LabelOSStable], n.Labels[corev1.LabelArchStable]
		name := os + "-" + arch
		if os != string(corev1.Linux) || arch == "" || len(validation.IsDNS1123Label(name)) > 0 {
			continue
		}
		c := byName[name]
		if c == nil {
			c = &nodeClass{name: name, os: os, arch: arch}
			byName[name] = c
			classes = append(classes, c)
		}
		c.nodes = append(c.nodes, n)
		if pullsNow(n) {
			c.waiting = append(c.waiting, n)
		}
	}
	byNodeName := func(a, b *corev1.Node) int { return strings.Compare(a.Name, b.Name) }
	for _, c := range classes {
		slices.SortFunc(c.nodes, byNodeName)
		slices.SortFunc(c.waiting, byNodeName)
	}
	slices.SortFunc(classes, func(a, b *nodeClass) int { return strings.Compare(a.name, b.name) })
	return classes
}

// pullsNow tells whether a node is there to stay and its kubelet reports. Prepull pods may run on others too, such as
// cordoned ones, but nobody waits for those.
func pullsNow(n *corev1.Node) bool {
	if n.DeletionTimestamp != nil || n.Spec.Unschedulable {
		return false
	}
	return slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}

// affinity is what selects exactly the nodes of a class, a new one included.
func (c *nodeClass) affinity() *corev1.Affinity {
	in := func(key, value string) corev1.NodeSelectorRequirement {
		return corev1.NodeSelectorRequirement{Key: key, Operator: corev1.NodeSelectorOpIn, Values: []string{value}}
	}
	return &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
			MatchExpressions: []corev1.NodeSelectorRequirement{in(corev1.LabelOSStable, c.os), in(corev1.LabelArchStable, c.arch)},
		}}},
	}}
}

// tolerations let the pods of the class onto its nodes.
func (c *nodeClass) tolerations() []corev1.Toleration {
	return []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
}

// placeOn returns the candidates with a use in the class: those that everybody may use, and those whose node selector
// matches a node of it. The whole class gets them, so more may be pulled than is needed, never less.
func placeOn(candidates []*candidate, c *nodeClass) []*candidate {
	var placed []*candidate
	for _, image := range candidates {
		if slices.ContainsFunc(c.nodes, image.wantedOn) {
			placed = append(placed, image)
		}
	}
	return placed
}

// wantedOn tells whether somebody wants the image on a node.
func (c *candidate) wantedOn(n *corev1.Node) bool {
	return len(c.placements) == 0 || slices.ContainsFunc(c.placements, func(p v1alpha1.Placement) bool {
		return labels.SelectorFromSet(p.NodeSelector).Matches(labels.Set(n.Labels))
	})
}
