package nodeclass

import (
	"fmt"
	"slices"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// IgnoredWords tell why nodes are one class where none of an image's pods may run on some: there would be too many classes.
type IgnoredWords struct {
	// keys are by the key of a label that is left out of account, and resources by the name of an extended resource.
	keys, resources map[string]string

	// taints is empty if taints count.
	taints string
}

// IgnoredWords tells what the classes leave out of account; max is how many there may be.
func (c classification) IgnoredWords(max int) IgnoredWords {
	const words = "%s not told apart, since there would be more than %d classes of nodes (maxNodeClasses)."
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

// Widely says that an image with some placements goes to more nodes than need it, empty if nothing is left out of account that
// its pods ask for.
func (w IgnoredWords) Widely(placements []v1alpha1.Placement) string {
	if why := w.about(placements); why != "" {
		return "The image also goes to nodes where none of its pods may run: " + why
	}
	return ""
}

// Withheld says why an image with some placements is not pulled with a pull secret.
func (w IgnoredWords) Withheld(placements []v1alpha1.Placement, secret v1alpha1.SecretReference) string {
	return "The Secret " + secret.String() + " would also go to nodes where none of those who use it may run: " + w.about(placements)
}

func (w IgnoredWords) about(placements []v1alpha1.Placement) string {
	if len(w.keys)+len(w.resources) == 0 {
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
	return w.taints
}

// ignore notes which traits, and whether taints, tell nodes apart and no classes.
func (c *classification) ignore(ignored []trait, tainted bool) {
	c.ignoredTaints = !tainted
	for _, t := range ignored {
		if t.resource {
			c.ignoredResources = append(c.ignoredResources, t.name)
		} else {
			c.ignoredKeys = append(c.ignoredKeys, t.name)
		}
	}
}
