package prepull

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// incumbentBonus is what the starts of an image that is on the nodes are multiplied with. Without it two images of
// about the same rank would take each other's place with every flush of their starts, and each time the whole class
// would get a new list.
const incumbentBonus = 2

// candidate is an image string that may be pulled, with all the objects that ask for it.
type candidate struct {
	// name of the init container: the ObjectName of the image.
	name  string
	image string

	objects  []*v1alpha1.PrepullImage
	declared bool
	starts   float64
	size     int64
	since    time.Time

	// selectors choose the nodes that want the image; none means every node.
	selectors []labels.Selector

	// canonical is the name under which nodes report the image.
	canonical string
}

// candidates returns the images to choose from, by name, and for each object that cannot be one the reason in words.
func candidates(images []v1alpha1.PrepullImage, now time.Time) (found []*candidate, invalid map[string]string) {
	byName := map[string]*candidate{}
	invalid = map[string]string{}
	for _, o := range declaredFirst(images) {
		canonical, err := canonicalImage(o.Spec.Image)
		if err != nil {
			invalid[o.Name] = err.Error()
			continue
		}
		name := ObjectName(o.Spec.Image)
		c := byName[name]
		if c == nil {
			c = &candidate{name: name, image: o.Spec.Image, canonical: canonical, since: o.CreationTimestamp.Time}
			byName[name] = c
			found = append(found, c)
		}
		if c.image != o.Spec.Image {
			// Only a string that somebody searched for has the same slug and hash as another one.
			invalid[o.Name] = fmt.Sprintf("the image has the same short name as %s", c.image)
			continue
		}
		c.add(o, now)
	}
	slices.SortFunc(found, func(a, b *candidate) int { return strings.Compare(a.name, b.name) })
	return found, invalid
}

// declaredFirst sorts objects so that a declared one speaks for its image, and the result does not depend on the order
// of a list.
func declaredFirst(images []v1alpha1.PrepullImage) []*v1alpha1.PrepullImage {
	sorted := make([]*v1alpha1.PrepullImage, len(images))
	for i := range images {
		sorted[i] = &images[i]
	}
	slices.SortFunc(sorted, func(a, b *v1alpha1.PrepullImage) int {
		if order := trueFirst(!managed(a), !managed(b)); order != 0 {
			return order
		}
		return strings.Compare(a.Name, b.Name)
	})
	return sorted
}

// add takes one more object that asks for the image into account: the image is wanted wherever one of them wants it.
func (c *candidate) add(o *v1alpha1.PrepullImage, now time.Time) {
	everywhere := len(c.objects) > 0 && len(c.selectors) == 0
	if len(o.Spec.NodeSelector) == 0 || everywhere {
		c.selectors = nil
	} else {
		c.selectors = append(c.selectors, labels.SelectorFromSet(o.Spec.NodeSelector))
	}
	c.objects = append(c.objects, o)
	c.declared = c.declared || !managed(o)
	c.starts += startsAt(o.Status.Starts, now)
	c.size = max(c.size, o.Status.SizeBytes)
	if t := o.Status.FirstSeenTime; t != nil && t.Time.Before(c.since) {
		c.since = t.Time
	}
}

// retry of the image in a class, nil if it does not fail there.
func (c *candidate) retry(class string) *v1alpha1.Retry {
	for _, o := range c.objects {
		for i := range o.Status.Retries {
			if o.Status.Retries[i].NodeClass == class {
				return &o.Status.Retries[i]
			}
		}
	}
	return nil
}

// choose returns the images that are worth one of the budget's places on the nodes of a class, and the rank, from 1,
// of those that are not. Declared images go before learned ones, working before failing ones, then the one with more
// starts, then the older one.
func choose(placed []*candidate, current []corev1.Container, failing map[*candidate]bool, budget int) (chosen []*candidate, over map[*candidate]int) {
	incumbent := map[string]bool{}
	for _, container := range current {
		incumbent[container.Name] = true
	}
	weight := func(c *candidate) float64 {
		if incumbent[c.name] {
			return c.starts * incumbentBonus
		}
		return c.starts
	}
	ranked := slices.Clone(placed)
	slices.SortFunc(ranked, func(a, b *candidate) int {
		return cmp.Or(
			trueFirst(a.declared, b.declared),
			trueFirst(!failing[a], !failing[b]),
			cmp.Compare(weight(b), weight(a)),
			a.since.Compare(b.since),
			strings.Compare(a.name, b.name),
		)
	})
	over = map[*candidate]int{}
	for i, c := range ranked[min(budget, len(ranked)):] {
		over[c] = budget + i + 1
	}
	return ranked[:min(budget, len(ranked))], over
}

func trueFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	default:
		return 1
	}
}
