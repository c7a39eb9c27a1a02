package plan

import (
	"slices"
	"strings"

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

// whyNowhere is why an image has a use on no node: what keeps its pods from being created, or what the nodes lack.
func (c *Candidate) whyNowhere(nodes string) string {
	if len(c.refusals) > 0 {
		return strings.Join(c.refusals, " ")
	}
	return nodes
}
