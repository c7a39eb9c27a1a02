package plan

import (
	"slices"
	"strings"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// version is what the versions of an image have in common: the workload that uses them, and the repository.
type version struct {
	user       v1alpha1.User
	repository string
}

// inheritStarts gives images in use the starts of other versions of theirs: a new one has started nowhere yet, and replaces one
// that has.
func inheritStarts(images []*Candidate) {
	most := map[version]float64{}
	for _, c := range images {
		c.versions = c.versionsOf()
		for _, v := range c.versions {
			most[v] = max(most[v], c.starts)
		}
	}
	for _, c := range images {
		if !c.inUse {
			continue
		}
		for _, v := range c.versions {
			c.starts = max(c.starts, most[v])
		}
	}
}

// withHeirs are images that are on the nodes, and those in use that replace one of them: they are worth the same.
func withHeirs(images []*ClassImage, incumbent map[*ClassImage]bool) map[*ClassImage]bool {
	there := map[version]bool{}
	for _, image := range images {
		if incumbent[image] {
			for _, v := range image.versions {
				there[v] = true
			}
		}
	}
	with := map[*ClassImage]bool{}
	for _, image := range images {
		with[image] = incumbent[image] || image.inUse && slices.ContainsFunc(image.versions, func(v version) bool { return there[v] })
	}
	return with
}

func (c *Candidate) versionsOf() []version {
	repository, _, _ := strings.Cut(c.canonical, "@")
	if colon := strings.LastIndexByte(repository, ':'); colon > strings.LastIndexByte(repository, '/') {
		repository = repository[:colon]
	}
	var versions []version
	for _, o := range c.objects {
		for _, u := range o.Status.Users {
			versions = append(versions, version{workload.WithoutUID(u), repository})
		}
	}
	return versions
}
