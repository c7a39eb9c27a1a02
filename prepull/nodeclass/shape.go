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

// shapesOf sorts the nodes that can have a class by shape: operating system, architecture, their values of the keys, and
// taints.
func shapesOf(nodes []corev1.Node, keys []string) []*shape {
	known := map[string]*shape{}
	var shapes []*shape
	var text []byte
	for i := range nodes {
		n := &nodes[i]
		taints := lastingTaints(n)
		text = appendTaints(appendLabels(text[:0], n, keys), taints)
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

// appendLabels appends what tells apart nodes with other values of the keys. There is no zero byte in a label.
func appendLabels(text []byte, n *corev1.Node, keys []string) []byte {
	text = append(append(text, n.Labels[corev1.LabelOSStable]...), 0)
	text = append(append(text, n.Labels[corev1.LabelArchStable]...), 0)
	for _, key := range keys {
		if value, found := n.Labels[key]; found {
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

// groupBy puts shapes together that have the same values of the keys, and the same taints if these count.
func groupBy(shapes []*shape, keys []string, tainted bool) [][]*shape {
	places := map[string]int{}
	var groups [][]*shape
	var text []byte
	for _, s := range shapes {
		text = appendLabels(text[:0], s.nodes[0], keys)
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

// coarsen returns the keys, and whether taints, tell classes apart if there are to be max at most. The keys with the most
// values go first, then taints: each of those may make a class of every node.
func coarsen(shapes []*shape, keys []string, max int) (kept []string, tainted bool) {
	values := make(map[string]int, len(keys))
	for _, key := range keys {
		distinct := map[string]bool{}
		for _, s := range shapes {
			if value, found := s.nodes[0].Labels[key]; found {
				distinct[value] = true
			}
		}
		values[key] = len(distinct)
	}
	kept = slices.Clone(keys)
	slices.SortFunc(kept, func(a, b string) int { return cmp.Or(values[b]-values[a], strings.Compare(a, b)) })
	// Fewer keys never make more classes.
	dropped := sort.Search(len(kept)+1, func(n int) bool { return len(groupBy(shapes, kept[n:], true)) <= max })
	if dropped > len(kept) {
		return nil, false
	}
	kept = kept[dropped:]
	slices.Sort(kept)
	return kept, true
}
