package nodeclass

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Affinity, together with tolerations, is what selects exactly the nodes of a class, a new one included, but none whose
// disk is full. The DaemonSet controller adds a toleration of that state, so only the affinity keeps pods off it.
func (c *Class) Affinity() *corev1.Affinity {
	var terms []corev1.NodeSelectorTerm
	if c.listed {
		for _, n := range c.Nodes {
			named := []corev1.NodeSelectorRequirement{Require(metav1.ObjectNameField, corev1.NodeSelectorOpIn, n.Name)}
			if UnderPressure(n) {
				// A term that matches nothing: there must be one, and all nodes may be full.
				named = append(named, Require(metav1.ObjectNameField, corev1.NodeSelectorOpNotIn, n.Name))
			}
			terms = append(terms, corev1.NodeSelectorTerm{MatchFields: named})
		}
	} else {
		terms = []corev1.NodeSelectorTerm{c.term()}
	}
	return &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: terms},
	}}
}

// term selects the nodes of a class by their labels.
func (c *Class) term() corev1.NodeSelectorTerm {
	term := corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{
		Require(corev1.LabelOSStable, corev1.NodeSelectorOpIn, c.Os),
		Require(corev1.LabelArchStable, corev1.NodeSelectorOpIn, c.Arch),
	}}
	term.MatchExpressions = append(term.MatchExpressions, notVirtual()...)
	for _, l := range c.labels {
		term.MatchExpressions = append(term.MatchExpressions, Require(l.key, corev1.NodeSelectorOpIn, l.value))
	}
	for _, key := range c.absent {
		term.MatchExpressions = append(term.MatchExpressions, Require(key, corev1.NodeSelectorOpDoesNotExist))
	}
	if s := c.separator; s != nil {
		term.MatchExpressions = append(term.MatchExpressions, Require(s.key, corev1.NodeSelectorOpIn, s.value))
	}
	left := slices.Clone(c.virtual)
	for _, other := range c.apart {
		if s := other.separator; s != nil {
			term.MatchExpressions = append(term.MatchExpressions, Require(s.key, corev1.NodeSelectorOpNotIn, s.value))
		} else {
			left = append(left, other.Nodes...)
		}
	}
	for _, n := range c.Nodes {
		if UnderPressure(n) {
			left = append(left, n)
		}
	}
	slices.SortFunc(left, func(a, b *corev1.Node) int { return strings.Compare(a.Name, b.Name) })
	for _, n := range left {
		// A requirement for a field takes one value only.
		term.MatchFields = append(term.MatchFields, Require(metav1.ObjectNameField, corev1.NodeSelectorOpNotIn, n.Name))
	}
	return term
}

func Require(key string, operator corev1.NodeSelectorOperator, values ...string) corev1.NodeSelectorRequirement {
	return corev1.NodeSelectorRequirement{Key: key, Operator: operator, Values: values}
}

// separate finds for every class with taints or resources what keeps its prepull pods off other nodes. To tolerate a taint is
// not to ask for it: without a separator they would start on nodes with the same labels and fewer taints as well, next to
// those of these nodes' own class. And no DaemonSet can ask for nodes that offer a resource. A class without either needs
// none, for its pods tolerate no taints, and those of its kind with resources say which nodes are theirs.
func separate(classes []*Class) {
	for _, c := range classes {
		if len(c.taints)+len(c.resources) == 0 {
			continue
		}
		var others, siblings []*Class
		for _, other := range classes {
			tainted := len(c.taints) > 0 && !slices.Equal(other.taints, c.taints)
			offers := len(c.resources) > 0 && other != c && other.isLike(c)
			if offers {
				other.apart = append(other.apart, c)
			}
			if !tainted && !offers {
				continue
			}
			others = append(others, other)
			if other.Os == c.Os && other.Arch == c.Arch && slices.Equal(other.labels, c.labels) {
				siblings = append(siblings, other)
			}
		}
		// What no node of any of the others carries separates from nodes that are yet to come, too.
		if c.separator = c.separatorFrom(others); c.separator == nil {
			c.separator = c.separatorFrom(siblings)
		}
		c.listed = c.separator == nil
	}
}

// separatorFrom returns a label that all nodes of the class carry and no node of the others does, nil if there is none.
// Best is one with the key of a taint or a resource: who taints nodes for a purpose often labels them alike.
func (c *Class) separatorFrom(others []*Class) *label {
	one := c.Nodes[0]
	keys := slices.Clone(c.resources)
	for _, t := range c.taints {
		keys = append(keys, t.Key)
	}
	for _, key := range append(keys, slices.Sorted(maps.Keys(one.Labels))...) {
		value, found := one.Labels[key]
		if !found || c.selects(key) {
			continue
		}
		carries := func(n *corev1.Node) bool {
			v, found := n.Labels[key]
			return found && v == value
		}
		somewhere := func(other *Class) bool { return slices.ContainsFunc(other.Nodes, carries) }
		everywhere := !slices.ContainsFunc(c.Nodes, func(n *corev1.Node) bool { return !carries(n) })
		if everywhere && !slices.ContainsFunc(others, somewhere) {
			return &label{key, value}
		}
	}
	return nil
}

// selects tells whether a label is no separator: it selects the class's nodes anyway, or a single node.
func (c *Class) selects(key string) bool {
	return key == corev1.LabelOSStable || key == corev1.LabelArchStable || key == corev1.LabelHostname ||
		slices.ContainsFunc(c.labels, func(l label) bool { return l.key == key })
}
