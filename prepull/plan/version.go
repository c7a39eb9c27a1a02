package plan

import (
	"slices"
	"strconv"
	"strings"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// version is what the versions of an image have in common: the workload that uses them, or the namespace where workloads come and
// go, and the repository.
type version struct {
	user       v1alpha1.User
	repository string
}

// colours end the names of workloads of which one takes the place of the other.
var colours = []string{"active", "blue", "canary", "green", "preview", "primary", "stable"}

// historyOf is whose history the starts of a user are. Jobs, pods and what custom controllers make have a name for a run: there
// the namespace has the history. Two workloads of one name but for a colour or a number of a version are one.
func historyOf(u v1alpha1.User) v1alpha1.User {
	switch u.Kind {
	case "Deployment", "StatefulSet", "DaemonSet", "CronJob":
	default:
		return v1alpha1.User{Namespace: u.Namespace}
	}
	base, last, found := cutLast(u.Name, "-")
	number, versioned := strings.CutPrefix(last, "v")
	if _, err := strconv.Atoi(number); found && (slices.Contains(colours, last) || versioned && err == nil) {
		u.Name = base
	}
	return workload.WithoutUID(u)
}

// cutLast slices a text around the last of a separator.
func cutLast(text, separator string) (before, after string, found bool) {
	at := strings.LastIndex(text, separator)
	if at < 0 {
		return text, "", false
	}
	return text[:at], text[at+len(separator):], true
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

// versionsOf are the versions of the images that are on the nodes.
func versionsOf(images []*ClassImage, incumbent map[*ClassImage]bool) map[version]bool {
	there := map[version]bool{}
	for _, image := range images {
		if incumbent[image] {
			for _, v := range image.versions {
				there[v] = true
			}
		}
	}
	return there
}

// inherits tells whether an image in use replaces one that is on the nodes: it is worth the same. there are the versions of these.
func (c *Candidate) inherits(there map[version]bool) bool {
	return c.inUse && slices.ContainsFunc(c.versions, func(v version) bool { return there[v] })
}

func (c *Candidate) versionsOf() []version {
	repository, _, _ := strings.Cut(c.canonical, "@")
	if colon := strings.LastIndexByte(repository, ':'); colon > strings.LastIndexByte(repository, '/') {
		repository = repository[:colon]
	}
	var versions []version
	for _, o := range c.objects {
		for _, u := range o.Status.Users {
			versions = append(versions, version{historyOf(u), repository})
		}
	}
	return versions
}
