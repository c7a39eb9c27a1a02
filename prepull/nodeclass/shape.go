package nodeclass

import (
	"cmp"
	"slices"
	"sort"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// shape is a set of nodes that no placement tells apart, except by their names.
type shape struct {
	nodes  []*corev1.Node
	taints []corev1.Taint
}

// trait is what tells nodes apart: the value of a label, or whether they offer an extended resource.
type trait struct {
	name     string
	resource bool
}

// shapesOf sorts the nodes that can have a class by shape: operating system, architecture, traits and taints.
func shapesOf(nodes []*corev1.Node, traits []trait, offered supply) []*shape {
	known := map[string]*shape{}
	var shapes []*shape
	var text []byte
	for _, n := range nodes {
		taints := lastingTaints(n)
		text = appendTaints(offered.appendTraits(text[:0], n, traits), taints)
		s, found := known[string(text)]
		if !found {
			if canHaveClass(n) {
				s = &shape{taints: taints}
				shapes = append(shapes, s)
			}
			known[string(text)] = s
		}
		if s != nil {
			s.nodes = append(s.nodes, n)
		}
	}
	return shapes
}

// canHaveClass tells whether a node can run our pods and has labels that a DaemonSet can be named after.
func canHaveClass(n *corev1.Node) bool {
	os, arch := n.Labels[corev1.LabelOSStable], n.Labels[corev1.LabelArchStable]
	base := os + "-" + arch
	return os == string(corev1.Linux) && arch != "" && len(base) <= maxBaseLength && len(validation.IsDNS1123Label(base)) == 0
}

// appendTraits appends what tells apart nodes with other traits. There is no zero byte in a label.
func (s supply) appendTraits(text []byte, n *corev1.Node, traits []trait) []byte {
	text = append(append(text, n.Labels[corev1.LabelOSStable]...), 0)
	text = append(append(text, n.Labels[corev1.LabelArchStable]...), 0)
	for _, t := range traits {
		if value, found := s.traitOf(n, t); found {
			text = append(append(text, '='), value...)
		}
		text = append(text, 0)
	}
	return text
}

func appendTaints(text []byte, taints []corev1.Taint) []byte {
	for _, t := range taints {
		for _, part := range []string{t.Key, t.Value, string(t.Effect)} {
			text = append(append(text, part...), 0)
		}
	}
	return text
}

// groupBy puts shapes together that have the same traits, and the same taints if these count.
func groupBy(shapes []*shape, traits []trait, offered supply, tainted bool) [][]*shape {
	places := map[string]int{}
	var groups [][]*shape
	var text []byte
	for _, s := range shapes {
		text = offered.appendTraits(text[:0], s.nodes[0], traits)
		if tainted {
			text = appendTaints(text, s.taints)
		}
		place, found := places[string(text)]
		if !found {
			place = len(groups)
			places[string(text)] = place
			groups = append(groups, nil)
		}
		groups[place] = append(groups[place], s)
	}
	return groups
}

// coarsen returns the traits, and whether taints, tell classes apart if there are to be max at most. The labels with the most
// values go first, then resources, then taints: each of those may make a class of every node.
func coarsen(shapes []*shape, traits []trait, offered supply, max int) (kept []trait, tainted bool) {
	values := make(map[trait]int, len(traits))
	for _, t := range traits {
		distinct := map[string]bool{}
		for _, s := range shapes {
			if value, found := offered.traitOf(s.nodes[0], t); found && !t.resource {
				distinct[value] = true
			}
		}
		values[t] = len(distinct)
	}
	kept = slices.Clone(traits)
	slices.SortFunc(kept, func(a, b trait) int { return cmp.Or(values[b]-values[a], strings.Compare(a.name, b.name)) })
	// Fewer traits never make more classes.
	dropped := sort.Search(len(kept)+1, func(n int) bool { return len(groupBy(shapes, kept[n:], offered, true)) <= max })
	if dropped > len(kept) {
		return nil, false
	}
	kept = kept[dropped:]
	slices.SortFunc(kept, compareTraits)
	return kept, true
}

// compareTraits sorts labels before resources.
func compareTraits(a, b trait) int {
	return cmp.Or(trueLast(a.resource, b.resource), strings.Compare(a.name, b.name))
}

func trueLast(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}
