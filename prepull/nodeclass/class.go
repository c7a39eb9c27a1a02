// Package nodeclass divides nodes into classes, one for each prepull DaemonSet, and tells where an image may run.
package nodeclass

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// classification is how the nodes are divided into classes.
type classification struct {
	// Classes by name. Every Linux node with an architecture is in exactly one, and a class nobody has a use for is there too.
	Classes []*Class

	// ignoredKeys are the keys of labels that placements mention, that tell nodes apart and no classes, because there would be
	// too many, and ignoredResources the same of extended resources; sorted. ignoredTaints is set if taints do not either. Then
	// more is pulled than is needed. Only what needs a pull secret goes nowhere where that may not be.
	ignoredKeys, ignoredResources []string
	ignoredTaints                 bool

	// unoffered are the extended resources that placements ask for and no node offers.
	unoffered map[string]bool

	// onVirtual tells of each image, in the order that Classify was given, whether its pods may run on a node that has no class
	// because it runs no DaemonSet pods.
	onVirtual []bool

	// Next is when time alone changes the classes; zero if it does not.
	Next time.Time
}

// Class is a set of nodes that one prepull DaemonSet serves: no placement tells them apart, except by their names.
type Class struct {
	Name     string
	Os, Arch string

	// labels are the other ones that make the class and that its nodes carry, absent the keys of those that they do not;
	// both by key.
	labels []label
	absent []string

	// resources are the extended resources that its nodes offer and others with the same labels and taints do not, sorted.
	// apart are the classes of those that offer more or other ones.
	resources []string
	apart     []*Class

	// taints are those that each node has, sorted. With anyTaints the nodes may have others each.
	taints    []corev1.Taint
	anyTaints bool

	// virtual are the nodes that run no DaemonSet pods, and have none of the labels that say so.
	virtual []*corev1.Node

	// separator is a label that only nodes with these taints and resources carry, nil if the class needs none. With listed
	// there is none, and the nodes are selected by their names.
	separator *label
	listed    bool

	// Nodes are all nodes of the class, by name.
	Nodes []*corev1.Node

	// Pullable are the nodes of the class that can be expected to pull now, by name. Only these count.
	Pullable []*corev1.Node

	// fitting tells of each image, in the order that Classify was given, whether it has a use in the class.
	fitting []bool

	// withheld are the pull secrets that are not to be in the class.
	withheld map[v1alpha1.SecretReference]bool
}

// Image is what there is to know of one to tell where it may run.
type Image struct {
	// Placements of its users, without RuntimeClasses; none means anywhere.
	Placements []v1alpha1.Placement

	// Namespaces are those of its users. An image without any is as one of a namespace of its own.
	Namespaces []string

	// PullSecrets are what it is pulled with.
	PullSecrets []v1alpha1.SecretReference
}

// label of a node.
type label struct{ key, value string }

const (
	// maxKeys is how many labels tell classes apart at most, besides operating system and architecture.
	maxKeys = 64

	// hashLength is how much of a class's name the hash takes, with its dash.
	hashLength = 9

	// maxBaseLength leaves room for the rest of a DaemonSet's name, which is a label of its pods.
	maxBaseLength = validation.DNS1123LabelMaxLength - len(v1alpha1.Name) - len("-") - hashLength
)

// Classify divides nodes into at most max classes by the labels that the placements of images mention, by the extended
// resources that they ask for, and by taints, and finds out which images have a use in which class, and which pull secrets may be
// there. Nodes of another system than Linux, nodes without these labels, and virtual ones have no class: no pod of ours could
// start there. The architecture always tells classes apart, even if that makes more than max.
func Classify(nodes []corev1.Node, images []Image, max int, now time.Time) classification {
	asked := newPlacementIndex(images)
	real, virtual := divideVirtual(nodes)
	carried, others := asked.keysOn(real)
	offered, next := supplyOf(real, asked.resources(), now)
	result := classification{Next: next, unoffered: offered.none()}
	traits := traitsOf(carried, offered)
	shapes := shapesOf(real, traits, offered)
	kept, ignored, tainted := asked.coarsen(shapes, traits, offered, max)
	result.ignore(ignored, tainted)
	// Nodes with one of the other keys would be of another shape, so no class is to select them.
	others = others[:min(len(others), maxKeys-min(len(traits), maxKeys))]
	for _, group := range groupBy(shapes, kept, offered, tainted) {
		c := newNodeClass(group, kept, others, offered, tainted)
		c.fitting = asked.fitOn(group, offered)
		c.withheld = asked.withheldFrom(group, offered)
		result.Classes = append(result.Classes, c)
	}
	tellApart(result.Classes)
	slices.SortFunc(result.Classes, func(a, b *Class) int { return strings.Compare(a.Name, b.Name) })
	separate(result.Classes)
	result.leaveOut(virtual, asked)
	return result
}

// Fits tells whether an image has a use in the class: some node of it fits one of its placements. The whole class gets it,
// so more may be pulled than is needed, never less. image is its index, as classify was given it.
func (c *Class) Fits(image int) bool { return c.fitting[image] }

// Withholds tells whether a pull secret is not to be on the nodes of the class: none of those who use it may run on some of them.
// That is only so where nodes are one class since there would be too many.
func (c *Class) Withholds(secret v1alpha1.SecretReference) bool { return c.withheld[secret] }

// newNodeClass makes a class of shapes that are the same as far as the traits, and taints if these count, tell.
func newNodeClass(shapes []*shape, traits []trait, others []string, offered supply, tainted bool) *Class {
	one := shapes[0].nodes[0]
	c := &Class{Os: one.Labels[corev1.LabelOSStable], Arch: one.Labels[corev1.LabelArchStable], anyTaints: !tainted}
	if tainted {
		c.taints = shapes[0].taints
	}
	for _, t := range traits {
		value, found := offered.traitOf(one, t)
		switch {
		case t.resource && found:
			c.resources = append(c.resources, t.name)
		case t.resource:
		case found:
			c.labels = append(c.labels, label{t.name, value})
		default:
			c.absent = append(c.absent, t.name)
		}
	}
	c.absent = append(c.absent, others...)
	slices.Sort(c.absent)
	for _, s := range shapes {
		c.Nodes = append(c.Nodes, s.nodes...)
	}
	slices.SortFunc(c.Nodes, func(a, b *corev1.Node) int { return strings.Compare(a.Name, b.Name) })
	for _, n := range c.Nodes {
		if PullsNow(n) {
			c.Pullable = append(c.Pullable, n)
		}
	}
	return c
}

// newName tells a class from all others by what its nodes have. What they lack is not in it: a key that a new workload
// brings up renames no class whose nodes do not carry it.
func (c *Class) newName() string {
	base := c.Os + "-" + c.Arch
	if len(c.labels)+len(c.taints)+len(c.resources) == 0 {
		return base
	}
	h := sha256.New()
	for _, l := range c.labels {
		fmt.Fprintf(h, "label %q %q\n", l.key, l.value)
	}
	for _, t := range c.taints {
		fmt.Fprintf(h, "taint %q %q %q\n", t.Key, t.Value, t.Effect)
	}
	for _, name := range c.resources {
		fmt.Fprintf(h, "resource %q\n", name)
	}
	return base + "-" + hex.EncodeToString(h.Sum(nil))[:hashLength-1]
}

// PullsNow tells whether a node is there to stay, its kubelet reports and it has room. Prepull pods may run on some others
// too, such as cordoned ones, but nobody waits for those.
func PullsNow(n *corev1.Node) bool {
	if n.DeletionTimestamp != nil || n.Spec.Unschedulable || UnderPressure(n) {
		return false
	}
	return HasCondition(n, corev1.NodeReady)
}

// UnderPressure tells whether the disk of a node is full: it deletes images, and to pull more would make it worse.
func UnderPressure(n *corev1.Node) bool {
	return HasCondition(n, corev1.NodeDiskPressure)
}

func HasCondition(n *corev1.Node, kind corev1.NodeConditionType) bool {
	return slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == kind && c.Status == corev1.ConditionTrue
	})
}
