package prepull

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	schedulingv1 "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// placement is what a user of images asks of its node, ready to be compared with many nodes.
type placement struct {
	affinity    nodeaffinity.RequiredNodeAffinity
	tolerations []corev1.Toleration

	// keys are those of the labels that it mentions.
	keys []string

	// byName is set if it may tell apart any two nodes: it mentions their names.
	byName bool
}

func newPlacement(p *v1alpha1.Placement) *placement {
	required := &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: p.NodeAffinity}}
	result := &placement{
		affinity:    nodeaffinity.NewRequiredNodeAffinity(p.NodeSelector, required),
		tolerations: p.Tolerations,
		keys:        slices.Collect(maps.Keys(p.NodeSelector)),
	}
	if p.NodeAffinity != nil {
		for _, term := range p.NodeAffinity.NodeSelectorTerms {
			for _, requirement := range term.MatchExpressions {
				result.keys = append(result.keys, requirement.Key)
			}
			result.byName = result.byName || len(term.MatchFields) > 0
		}
	}
	result.byName = result.byName || slices.Contains(result.keys, corev1.LabelHostname)
	return result
}

// fits tells whether the scheduler would let a pod with this placement start on a node, if the node had room and were in
// a good state. What Kubernetes cannot parse matches nothing.
func fits(n *corev1.Node, p *placement) bool {
	if matches, err := p.affinity.Match(n); err != nil || !matches {
		return false
	}
	// A cluster that does not know the operators Lt and Gt stores no toleration with them.
	_, repelled := schedulingv1.FindMatchingUntoleratedTaint(logr.Discard(), n.Spec.Taints, p.tolerations, lasts, true)
	return !repelled
}

// wishList is what images ask of nodes, each distinct placement once: most workloads ask for the same few things.
type wishList struct {
	placements []*placement
	wishes     []wish
}

// wish is an image with its placements, by their indexes in wishList.
type wish struct {
	image      *candidate
	placements []int
}

func wishListOf(wanted []*candidate) wishList {
	d := wishList{wishes: make([]wish, 0, len(wanted))}
	known := map[string]int{}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	for _, image := range wanted {
		asked := image.placements
		if len(asked) == 0 {
			asked = []v1alpha1.Placement{placementAnywhere()}
		}
		w := wish{image: image}
		for i := range asked {
			text.Reset()
			// A Placement consists of types that always marshal.
			_ = encoder.Encode(&asked[i])
			index, found := known[text.String()]
			if !found {
				index = len(d.placements)
				known[text.String()] = index
				d.placements = append(d.placements, newPlacement(&asked[i]))
			}
			w.placements = append(w.placements, index)
		}
		d.wishes = append(d.wishes, w)
	}
	return d
}

// keysOn returns the labels that placements mention: those that some of the nodes carry, and the others; both sorted. The
// name of a node is not among them, nor are operating system and architecture.
func (d wishList) keysOn(nodes []corev1.Node) (carried, others []string) {
	found := map[string]bool{}
	for _, p := range d.placements {
		for _, key := range p.keys {
			found[key] = false
		}
	}
	for _, key := range []string{corev1.LabelOSStable, corev1.LabelArchStable, corev1.LabelHostname} {
		delete(found, key)
	}
	for i := range nodes {
		if nodes[i].Labels[corev1.LabelOSStable] != string(corev1.Linux) {
			continue
		}
		for key := range nodes[i].Labels {
			if carries, mentioned := found[key]; mentioned && !carries {
				found[key] = true
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(found)) {
		if found[key] {
			carried = append(carried, key)
		} else if len(validation.IsQualifiedName(key)) == 0 {
			// Nothing checks the keys that a declared PrepullImage mentions, and no DaemonSet may mention a bad one.
			others = append(others, key)
		}
	}
	return carried, others
}

// usesOn returns the images with a placement that fits on a node of the shapes.
func (d wishList) usesOn(shapes []*shape) map[*candidate]bool {
	fitting := make([]bool, len(d.placements))
	for i, p := range d.placements {
		fitting[i] = slices.ContainsFunc(shapes, func(s *shape) bool {
			if p.byName {
				return slices.ContainsFunc(s.nodes, func(n *corev1.Node) bool { return fits(n, p) })
			}
			return fits(s.nodes[0], p)
		})
	}
	uses := make(map[*candidate]bool, len(d.wishes))
	for _, w := range d.wishes {
		if slices.ContainsFunc(w.placements, func(i int) bool { return fitting[i] }) {
			uses[w.image] = true
		}
	}
	return uses
}

// placeOn returns those of the candidates with a use in a class: some node of it fits one of their placements. The whole
// class gets them, so more may be pulled than is needed, never less.
func placeOn(candidates []*candidate, c *nodeClass) []*candidate {
	var placed []*candidate
	for _, image := range candidates {
		if c.images[image] {
			placed = append(placed, image)
		}
	}
	return placed
}
