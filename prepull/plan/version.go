package plan

import (
	"slices"

	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// inheritStarts gives images in use the starts of those that they replace: a new one has started nowhere yet, and takes the place of
// one that has.
func inheritStarts(images []*Candidate) {
	most := map[workload.Version]float64{}
	for _, c := range images {
		for _, o := range c.objects {
			c.versions = c.versions.Plus(workload.VersionsOf(c.canonical, &o.Status))
		}
		for _, v := range c.versions.ReplacedBy() {
			most[v] = max(most[v], c.starts)
		}
	}
	for _, c := range images {
		if !c.inUse {
			continue
		}
		for _, v := range c.versions.Replaces() {
			c.starts = max(c.starts, most[v])
		}
	}
}

// replaceable are the versions of the images that are on the nodes.
func replaceable(images []*ClassImage, incumbent map[*ClassImage]bool) map[workload.Version]bool {
	there := map[workload.Version]bool{}
	for _, image := range images {
		if incumbent[image] {
			for _, v := range image.versions.ReplacedBy() {
				there[v] = true
			}
		}
	}
	return there
}

// inherits tells whether an image in use replaces one that is on the nodes: it is worth the same. there are the versions of these.
func (c *Candidate) inherits(there map[workload.Version]bool) bool {
	return c.inUse && slices.ContainsFunc(c.versions.Replaces(), func(v workload.Version) bool { return there[v] })
}
