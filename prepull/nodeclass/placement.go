package nodeclass

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
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// placement is what a user of images asks of its node, ready to be compared with many nodes.
type placement struct {
	affinity    nodeaffinity.RequiredNodeAffinity
	tolerations []corev1.Toleration

	// keys are those of the labels that it mentions, and resources what a node must offer. traits are both.
	keys, resources []string
	traits          []trait

	// byName is set if it may tell apart any two nodes: it mentions their names.
	byName bool
}

func NewPlacement(p *v1alpha1.Placement) *placement {
	required := &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: p.NodeAffinity}}
	result := &placement{
		affinity:    nodeaffinity.NewRequiredNodeAffinity(p.NodeSelector, required),
		tolerations: p.Tolerations,
		keys:        slices.Collect(maps.Keys(p.NodeSelector)),
		resources:   p.Resources,
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
	for _, key := range result.keys {
		result.traits = append(result.traits, trait{name: key})
	}
	for _, name := range result.resources {
		result.traits = append(result.traits, trait{name, true})
	}
	return result
}

// Fits tells whether the scheduler would let a pod with this placement start on a node, if the node had room and were in
// a good state. What Kubernetes cannot parse matches nothing. The placement is one without a RuntimeClass.
func Fits(n *corev1.Node, p *placement) bool {
	return offersAll(n, p.resources) && p.letsIn(n)
}

// letsIn tells whether labels, name and taints of a node are what a placement asks for.
func (p *placement) letsIn(n *corev1.Node) bool {
	if matches, err := p.affinity.Match(n); err != nil || !matches {
		return false
	}
	// A cluster that does not know the operators Lt and Gt stores no toleration with them.
	_, repelled := schedulingv1.FindMatchingUntoleratedTaint(logr.Discard(), n.Spec.Taints, p.tolerations, lasts, true)
	return !repelled
}

// placementIndex is what images ask of nodes, each distinct placement once: most workloads ask for the same few things.
type placementIndex struct {
	placements []*placement

	// of are the placements of each image, by their indexes, and namespaces those of its users.
	of         [][]int
	namespaces [][]string

	// using are the placements of the images that need a pull secret.
	using map[v1alpha1.SecretReference][]int
}

func newPlacementIndex(images []Image) placementIndex {
	x := placementIndex{of: make([][]int, 0, len(images)), using: map[v1alpha1.SecretReference][]int{}}
	known, nobody := map[string]int{}, []string{""}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	for _, image := range images {
		asked := image.Placements
		if len(asked) == 0 {
			asked = []v1alpha1.Placement{workload.Anywhere()}
		}
		indexes := make([]int, 0, len(asked))
		for i := range asked {
			text.Reset()
			// A Placement consists of types that always marshal.
			_ = encoder.Encode(&asked[i])
			index, found := known[string(text.Bytes())]
			if !found {
				index = len(x.placements)
				known[text.String()] = index
				x.placements = append(x.placements, NewPlacement(&asked[i]))
			}
			indexes = append(indexes, index)
		}
		x.of = append(x.of, indexes)
		namespaces := image.Namespaces
		if len(namespaces) == 0 {
			namespaces = nobody
		}
		x.namespaces = append(x.namespaces, namespaces)
		for _, secret := range image.PullSecrets {
			x.using[secret] = append(x.using[secret], indexes...)
		}
	}
	return x
}

// resources are those that placements ask for, sorted.
func (x placementIndex) resources() []string {
	var names []string
	for _, p := range x.placements {
		names = append(names, p.resources...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// keysOn returns the labels that placements mention: those that some of the nodes carry, and the others; both sorted. The
// name of a node is not among them, nor are operating system and architecture.
func (x placementIndex) keysOn(nodes []*corev1.Node) (carried, others []string) {
	found := map[string]bool{}
	for _, p := range x.placements {
		for _, key := range p.keys {
			found[key] = false
		}
	}
	for _, key := range []string{corev1.LabelOSStable, corev1.LabelArchStable, corev1.LabelHostname} {
		delete(found, key)
	}
	for _, n := range nodes {
		if n.Labels[corev1.LabelOSStable] != string(corev1.Linux) {
			continue
		}
		for key := range n.Labels {
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

// fitOn tells for each image whether one of its placements fits on a node of the shapes.
func (x placementIndex) fitOn(shapes []*shape, offered supply) []bool {
	fitting := make([]bool, len(x.placements))
	for i, p := range x.placements {
		fitting[i] = slices.ContainsFunc(shapes, func(s *shape) bool { return s.fits(p, offered) })
	}
	images := make([]bool, len(x.of))
	for i, placements := range x.of {
		images[i] = slices.ContainsFunc(placements, func(p int) bool { return fitting[p] })
	}
	return images
}

// fits tells whether a placement fits on a node of the shape.
func (s *shape) fits(p *placement, offered supply) bool {
	fits := func(n *corev1.Node) bool { return offered.hasAll(n, p.resources) && p.letsIn(n) }
	return fits(s.nodes[0]) || p.byName && slices.ContainsFunc(s.nodes, fits)
}

// withheldFrom are the pull secrets that are not to be on nodes of the shapes: on some of them no user of the Secret fits.
func (x placementIndex) withheldFrom(shapes []*shape, offered supply) map[v1alpha1.SecretReference]bool {
	if len(shapes) == 1 {
		return nil // an image with a use here fits all of them
	}
	unfit := map[int][]bool{} // by shape, of the placements that were looked at
	look := func(p int) []bool {
		if unfit[p] == nil {
			unfit[p] = make([]bool, len(shapes))
			for i, s := range shapes {
				unfit[p][i] = !s.fits(x.placements[p], offered)
			}
		}
		return unfit[p]
	}
	withheld := map[v1alpha1.SecretReference]bool{}
	for secret, placements := range x.using {
		for i := range shapes {
			if !slices.ContainsFunc(placements, func(p int) bool { return !look(p)[i] }) {
				withheld[secret] = true
				break
			}
		}
	}
	return withheld
}
