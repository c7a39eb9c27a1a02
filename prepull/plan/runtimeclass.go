package plan

import (
	"slices"
	"strings"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/nodeclass"
)

// resolve adds what RuntimeClasses ask of nodes to the placements of an image.
func (c *Candidate) resolve(classes nodeclass.RuntimeClasses) {
	for i, p := range c.placements {
		resolved, refusal := classes.Resolve(p)
		c.placements[i] = resolved
		if refusal != "" {
			c.refusals = append(c.refusals, refusal)
		}
	}
	slices.Sort(c.refusals)
	c.refusals = slices.Compact(c.refusals)
}

// whyNowhere is why images have a use on no node: what keeps their pods from being created, or what nodes say of an image, by
// its index, and its placements.
func whyNowhere(images []*Candidate, nodes func(image int, placements []v1alpha1.Placement) string) map[*Candidate]string {
	why := make(map[*Candidate]string, len(images))
	for i, c := range images {
		why[c] = strings.Join(c.refusals, " ")
		if len(c.refusals) == 0 {
			why[c] = nodes(i, c.placements)
		}
	}
	return why
}
