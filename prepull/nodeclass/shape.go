package nodeclass

import (
	"cmp"
	"slices"
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

// coarsen returns the traits, and whether taints, tell classes apart if there are to be max at most, and which traits would make
// more of them. Taints come first, since no user of a namespace can add one; then traits, in the order of their ranks, as long as
// there are not too many. One that tells no more apart than those before it costs nothing, and is kept while there is room.
func (x placementIndex) coarsen(shapes []*shape, traits []trait, offered supply, max int) (kept, ignored []trait, tainted bool) {
	if len(shapes) <= max && len(traits) <= maxKeys {
		return traits, nil, true
	}
	untainted := partition{of: make([]int, len(shapes))}.divide(len(shapes), func(i int) (string, bool) {
		return string(offered.appendTraits(nil, shapes[i].nodes[0], nil)), true
	})
	classes := untainted.divide(len(shapes), func(i int) (string, bool) { return string(appendTaints(nil, shapes[i].taints)), true })
	if tainted = classes.parts <= max; !tainted {
		classes = untainted
	}
	if classes.parts > max {
		max = classes.parts // architectures always count
	}
	var idle []trait
	for _, t := range x.ranked(traits, shapes, offered, max) {
		finer := classes.by(t, shapes, offered, max)
		switch {
		case finer.parts == classes.parts:
			idle = append(idle, t)
		case finer.parts <= max && len(kept) < maxKeys:
			kept, classes = append(kept, t), finer
		default:
			ignored = append(ignored, t)
		}
	}
	kept = append(kept, idle[:min(len(idle), maxKeys-len(kept))]...)
	slices.SortFunc(kept, compareTraits)
	slices.SortFunc(ignored, compareTraits)
	return kept, ignored, tainted
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
