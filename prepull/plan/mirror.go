package plan

import (
	"cmp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/warmth"
)

// MirrorPace is how soon it is looked again whether the mirrors of nodes are ready, which nobody watches.
const MirrorPace = 5 * time.Second

// Mirror is what serves images to nodes in the place of the registry, such as Spegel or Dragonfly: a pod on each node. Prepull pods
// are made with a scheduling gate, and wait for two things: for the mirror of their node, and, where another node of their zone is at
// an image that they lack, for that one. So the registry sends an image once to each zone. Only prepull pods wait.
type Mirror struct {
	// Namespace of its pods, and PodSelector, their labels. Without a selector there is no mirror.
	Namespace   string
	PodSelector map[string]string

	// Deadline is how long a prepull pod waits at most, from its creation on.
	Deadline time.Duration
}

// Enabled tells whether there is a mirror to wait for.
func (m Mirror) Enabled() bool { return len(m.PodSelector) > 0 }

// gates of a new prepull pod.
func (m Mirror) gates() []corev1.PodSchedulingGate {
	if !m.Enabled() {
		return nil
	}
	return []corev1.PodSchedulingGate{{Name: v1alpha1.SchedulingGateMirror}}
}

// WaitsForMirror tells whether a prepull pod has the gate.
func WaitsForMirror(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Spec.SchedulingGates, func(g corev1.PodSchedulingGate) bool { return g.Name == v1alpha1.SchedulingGateMirror })
}

// MirroredNodes are the nodes of ready pods of a mirror.
func MirroredNodes(pods []corev1.Pod) map[string]bool {
	nodes := map[string]bool{}
	for i := range pods {
		if warmth.Ready(&pods[i]) && pods[i].DeletionTimestamp == nil {
			nodes[pods[i].Spec.NodeName] = true
		}
	}
	return nodes
}

// Selector of the pods of the mirror.
func (m Mirror) Selector() labels.Selector { return labels.SelectorFromSet(m.PodSelector) }

// zoneImage is an image in a zone.
type zoneImage struct{ zone, image string }

// pulling is a prepull pod that is to pull its list, or waits for that, and where it is meant for.
type pulling struct {
	pod   *corev1.Pod
	class *ClassPlan
	node  string

	// current is set if it has the current list, and list are the images of that. One with a former list is replaced before it pulls any.
	current bool
	list    []*ClassImage
}

// planMirrors decides which prepull pods lose the gate: those whose time is over, those that pull nothing, and those on whose nodes the
// mirror is ready unless another node of the zone is at an image that they lack. Of several that lack the same, the first one by name
// goes.
func (p *Plan) planMirrors(s State, m Mirror, now time.Time) {
	waiting, begun := p.pulling()
	if len(waiting) == 0 {
		return
	}
	zones := map[string]string{}
	for i := range s.Nodes {
		zones[s.Nodes[i].Name] = s.Nodes[i].Labels[corev1.LabelTopologyZone]
	}
	there := p.imagesOfZones(zones, waiting)
	underway := map[zoneImage]bool{}
	for _, b := range begun {
		for _, image := range b.lacks() {
			underway[zoneImage{zones[b.node], image}] = true
		}
	}
	for _, w := range waiting {
		due, lacks, zone := w.pod.CreationTimestamp.Add(m.Deadline), w.lacks(), zones[w.node]
		follows := zone != "" && slices.ContainsFunc(lacks, func(image string) bool {
			key := zoneImage{zone, image}
			return underway[key] && !there[key]
		})
		pullsNothing := w.current && len(lacks) == 0
		if m.Enabled() && now.Before(due) && !pullsNothing && (follows || !s.Mirrored[w.node] || !w.current) {
			p.lookAgainBy(sooner(due, now.Add(MirrorPace)))
			continue
		}
		p.Ungate = append(p.Ungate, w.pod)
		for _, image := range lacks {
			underway[zoneImage{zone, image}] = true
		}
	}
}

// pulling are the prepull pods that wait, in the order of their nodes, and those that have begun and are not ready.
func (p *Plan) pulling() (waiting, begun []pulling) {
	for _, cp := range p.Classes {
		for _, l := range cp.lanes {
			list := cp.listIn(l)
			for _, pod := range l.on {
				at := pulling{pod: pod, class: cp, node: warmth.NodeOf(pod)}
				if at.current = l.has(pod); at.current {
					at.list = list
				}
				switch {
				case pod.DeletionTimestamp != nil || warmth.Ready(pod):
				case WaitsForMirror(pod):
					waiting = append(waiting, at)
				case !at.isStuck():
					begun = append(begun, at)
				}
			}
		}
	}
	slices.SortFunc(waiting, func(a, b pulling) int {
		return cmp.Or(strings.Compare(a.node, b.node), strings.Compare(a.pod.Name, b.pod.Name))
	})
	return waiting, begun
}

// isStuck tells whether a pod does not get to the rest of its list, or is on a node that nobody waits for.
func (w pulling) isStuck() bool {
	_, counts := w.class.Warmth.At[w.node]
	_, broken := w.class.Warmth.Broken[w.node]
	return !counts || broken || slices.ContainsFunc(w.list, func(image *ClassImage) bool {
		f, fails := image.Warmth.Failed[w.node]
		return fails && !f.Alone
	})
}

// imagesOfZones are those that some pods lack and another node of their zone has.
func (p *Plan) imagesOfZones(zones map[string]string, of []pulling) map[zoneImage]bool {
	named := map[string]bool{}
	for _, w := range of {
		for _, image := range w.lacks() {
			named[image] = true
		}
	}
	there := map[zoneImage]bool{}
	for _, cp := range p.Classes {
		for _, image := range cp.Images {
			if !named[image.image] {
				continue
			}
			for i, n := range cp.Pullable {
				if image.Warmth.There(i) {
					there[zoneImage{zones[n.Name], image.image}] = true
				}
			}
		}
	}
	return there
}

// listIn are the images in the stored list of a lane.
func (cp *ClassPlan) listIn(l *lane) []*ClassImage {
	var list []*ClassImage
	for _, listed := range ListOf(l.stored) {
		i, found := slices.BinarySearchFunc(cp.Images, listed.Name, func(image *ClassImage, name string) int { return strings.Compare(image.Name, name) })
		if found {
			list = append(list, cp.Images[i])
		}
	}
	return list
}

// lacks are the images of the pod's list that its node has not, and does not fail on.
func (w pulling) lacks() []string {
	at, known := w.class.Warmth.At[w.node]
	var images []string
	for _, image := range w.list {
		if _, fails := image.Warmth.Failed[w.node]; !fails && !(known && image.Warmth.There(at)) {
			images = append(images, image.image)
		}
	}
	return images
}
