package nodeclass

import (
	"fmt"
	"slices"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// IgnoredWords are sentences for images that go to more nodes than need them, because there would be too many classes.
type IgnoredWords struct {
	// keys are by the key of a label that is left out of account, and resources by the name of an extended resource.
	keys, resources map[string]string

	// taints is empty if taints count.
	taints string
}

// IgnoredWords tells what the classes leave out of account; max is how many there may be.
func (c classification) IgnoredWords(max int) IgnoredWords {
	const words = "The image also goes to nodes where none of its pods may run: %s not told apart, since there would be more than %d classes of nodes (maxNodeClasses)."
	w := IgnoredWords{keys: map[string]string{}, resources: map[string]string{}}
	for _, key := range c.ignoredKeys {
		w.keys[key] = fmt.Sprintf(words, "values of the node label "+key+" are", max)
	}
	for _, name := range c.ignoredResources {
		w.resources[name] = fmt.Sprintf(words, "nodes with and without the resource "+name+" are", max)
	}
	if c.ignoredTaints {
		w.taints = fmt.Sprintf(words, "taints are", max)
	}
	return w
}

// About returns the sentence for an image with some placements, empty if nothing is left out of account that its pods ask for.
func (w IgnoredWords) About(placements []v1alpha1.Placement) string {
	if w.taints != "" || len(w.keys)+len(w.resources) == 0 {
		return w.taints
	}
	for i := range placements {
		for _, key := range slices.Sorted(slices.Values(NewPlacement(&placements[i]).keys)) {
			if words, ignored := w.keys[key]; ignored {
				return words
			}
		}
		for _, name := range placements[i].Resources {
			if words, ignored := w.resources[name]; ignored {
				return words
			}
		}
	}
	return ""
}

// ignore notes which of the traits, and whether taints, tell no classes apart.
func (c *classification) ignore(traits, kept []trait, tainted bool) {
	c.ignoredTaints = !tainted
	for _, t := range traits {
		switch {
		case slices.Contains(kept, t):
		case t.resource:
			c.ignoredResources = append(c.ignoredResources, t.name)
		default:
			c.ignoredKeys = append(c.ignoredKeys, t.name)
		}
	}
}
