package nodeclass

import (
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// settleTime is how long a new node may take until its device plugins have told what it offers: as long as the cluster
// autoscaler waits for one (--max-node-provision-time).
const settleTime = 15 * time.Minute

// Offers tells whether a node has an extended resource, free or not. What has no healthy device for a moment has it still:
// the kubelet waits five minutes for a device plugin that is away (endpointStopGracePeriod in
// pkg/kubelet/cm/devicemanager/types.go). A taint with the name of the resource says that the node is for those who ask for it.
func Offers(n *corev1.Node, resource string) bool {
	allocatable, capacity := n.Status.Allocatable[corev1.ResourceName(resource)], n.Status.Capacity[corev1.ResourceName(resource)]
	return !allocatable.IsZero() || !capacity.IsZero() ||
		slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == resource })
}

// offersAll tells whether a node offers all of some resources.
func offersAll(n *corev1.Node, resources []string) bool {
	return !slices.ContainsFunc(resources, func(name string) bool { return !Offers(n, name) })
}

// supply is which nodes offer an extended resource, or will soon, by its name.
type supply map[string]map[*corev1.Node]bool

// supplyOf finds the nodes that offer resources; next is when time alone changes that, zero if it does not.
func supplyOf(nodes []*corev1.Node, resources []string, now time.Time) (offered supply, next time.Time) {
	offered = supply{}
	for _, name := range resources {
		offering := map[*corev1.Node]bool{}
		var young, lacking, having []*corev1.Node
		for _, n := range nodes {
			isYoung := now.Sub(n.CreationTimestamp.Time) < settleTime
			switch offering[n] = Offers(n, name); {
			case isYoung && !offering[n]:
				young = append(young, n)
			case !offering[n]:
				lacking = append(lacking, n)
			case !isYoung:
				having = append(having, n)
			}
		}
		for _, n := range alike(young, having, lacking) {
			offering[n] = true
			if due := n.CreationTimestamp.Add(settleTime); next.IsZero() || due.Before(next) {
				next = due
			}
		}
		offered[name] = offering
	}
	return offered, next
}

// alike are the young nodes that can be expected to offer what others do: they have a label that is on nodes which have it, and
// on none that lacks it, among those that had the time to tell. Else each new node of a pool would begin in a class of its own.
func alike(young, having, lacking []*corev1.Node) []*corev1.Node {
	if len(young) == 0 || len(having) == 0 {
		return nil
	}
	telling := map[label]bool{}
	for _, n := range having {
		for key, value := range n.Labels {
			telling[label{key, value}] = true
		}
	}
	for _, n := range lacking {
		for key, value := range n.Labels {
			delete(telling, label{key, value})
		}
	}
	return slices.DeleteFunc(young, func(n *corev1.Node) bool {
		for key, value := range n.Labels {
			if telling[label{key, value}] {
				return false
			}
		}
		return true
	})
}

// hasAll tells whether a node offers all of some resources, or will soon.
func (s supply) hasAll(n *corev1.Node, resources []string) bool {
	return !slices.ContainsFunc(resources, func(name string) bool { return !s[name][n] })
}

// traitOf is the value of a node's label, or whether it offers a resource.
func (s supply) traitOf(n *corev1.Node, t trait) (value string, found bool) {
	if t.resource {
		return "", s[t.name][n]
	}
	value, found = n.Labels[t.name]
	return value, found
}

// none are the resources that no node offers.
func (s supply) none() map[string]bool {
	none := map[string]bool{}
	for name, offering := range s {
		none[name] = !slices.Contains(slices.Collect(maps.Values(offering)), true)
	}
	return none
}

// traitsOf are the labels that nodes carry, and the resources that they offer.
func traitsOf(carried []string, offered supply) []trait {
	traits := make([]trait, 0, len(carried)+len(offered))
	for _, key := range carried {
		traits = append(traits, trait{name: key})
	}
	none := offered.none()
	for _, name := range slices.Sorted(maps.Keys(offered)) {
		if !none[name] {
			traits = append(traits, trait{name, true})
		}
	}
	return traits
}

// tellApart leaves to each class the resources that not all classes with the same labels and taints offer: only these make it
// another one. Then it gives the classes their names.
func tellApart(classes []*Class) {
	for _, family := range familiesOf(classes) {
		for _, name := range slices.Clone(family[0].resources) {
			lacks := func(c *Class) bool { return !slices.Contains(c.resources, name) }
			if slices.ContainsFunc(family, lacks) {
				continue
			}
			for _, c := range family {
				c.resources = slices.DeleteFunc(c.resources, func(have string) bool { return have == name })
			}
		}
	}
	for _, c := range classes {
		c.Name = c.newName()
	}
}

// familiesOf puts classes together that have the same labels and taints.
func familiesOf(classes []*Class) [][]*Class {
	var families [][]*Class
	for _, c := range classes {
		i := slices.IndexFunc(families, func(family []*Class) bool { return family[0].isLike(c) })
		if i < 0 {
			i, families = len(families), append(families, nil)
		}
		families[i] = append(families[i], c)
	}
	return families
}

// isLike tells whether nothing but resources tells two classes apart.
func (c *Class) isLike(other *Class) bool {
	return c.Os == other.Os && c.Arch == other.Arch && slices.Equal(c.labels, other.labels) && slices.Equal(c.taints, other.taints)
}
