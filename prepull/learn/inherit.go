package learn

import (
	"time"

	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// passOn has images that stay, and are in use, inherit the starts of those that leave and that they replace. As long as both are known
// the plan compares them; afterwards nobody else would know what the workload was worth.
func passOn(leave, stay []change, now time.Time) {
	most := map[workload.Version]change{}
	for _, c := range leave {
		for _, v := range c.versions().ReplacedBy() {
			if c.want.Starts.At(now) > most[v].want.Starts.At(now) {
				most[v] = c
			}
		}
	}
	if len(most) == 0 {
		return
	}
	for i := range stay {
		c := &stay[i]
		if c.want.UserCount == 0 {
			continue
		}
		for _, v := range c.versions().Replaces() {
			if from := most[v].want.Starts; from.At(now) > max(c.want.Starts.At(now), c.inherits.At(now)) {
				c.inherits = from
			}
		}
	}
}

// versions of the image, by the users that it has now, or had last.
func (c change) versions() workload.Versions {
	canonical, err := workload.CanonicalImage(c.image)
	if err != nil {
		return workload.Versions{}
	}
	status := c.object.Status
	status.Users, status.UserCount = c.want.Users, c.want.UserCount
	return workload.VersionsOf(canonical, &status)
}
