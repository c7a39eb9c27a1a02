package workload

import (
	"slices"
	"strconv"
	"strings"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// Version is what the versions of an image have in common: the workload that uses them, and a name that stays the same when a release
// takes them from another registry. Where workloads come and go it is the namespace, and the repository.
type Version struct {
	user v1alpha1.User
	name string
}

// Versions are those of an image: what it can take the place of, and what can take its place.
type Versions struct {
	replaces, replacedBy []Version
}

// VersionsOf an image by its canonical name, and by the users that its status names, which may not be all.
func VersionsOf(canonical string, s *v1alpha1.PrepullImageStatus) Versions {
	repository := repositoryOf(canonical)
	name := repository[strings.LastIndexByte(repository, '/')+1:]
	var v Versions
	for _, u := range s.Users {
		history, lasts := historyOf(u)
		own := Version{history, repository}
		if lasts {
			own.name = name
		}
		// Who else uses it in the namespace is not known.
		unnamed := Version{v1alpha1.User{Kind: "*", Namespace: u.Namespace}, repository}
		v.replaces, v.replacedBy = append(v.replaces, own, unnamed), append(v.replacedBy, own)
		if int(s.UserCount) > len(s.Users) {
			v.replacedBy = append(v.replacedBy, unnamed)
		}
	}
	return v
}

// Plus are the versions of an image that several objects are about.
func (v Versions) Plus(other Versions) Versions {
	return Versions{slices.Concat(v.replaces, other.replaces), slices.Concat(v.replacedBy, other.replacedBy)}
}

// Replaces are what another image has in ReplacedBy if this one can take its place.
func (v Versions) Replaces() []Version { return v.replaces }

// ReplacedBy are what another image has in Replaces if it can take the place of this one.
func (v Versions) ReplacedBy() []Version { return v.replacedBy }

// CanReplace tells whether an image can take the place of another one.
func (v Versions) CanReplace(other Versions) bool {
	return slices.ContainsFunc(other.replacedBy, func(o Version) bool { return slices.Contains(v.replaces, o) })
}

// repositoryOf a canonical name is what stays of it without tag and digest.
func repositoryOf(canonical string) string {
	repository, _, _ := strings.Cut(canonical, "@")
	if colon := strings.LastIndexByte(repository, ':'); colon > strings.LastIndexByte(repository, '/') {
		repository = repository[:colon]
	}
	return repository
}

// colours end the names of workloads of which one takes the place of the other.
var colours = []string{"active", "blue", "canary", "green", "preview", "primary", "stable"}

// historyOf is whose history the starts of a user are, and whether it lasts. Jobs, pods and what custom controllers make have a name
// for a run: there the namespace has the history. Two workloads of one name but for a colour or a number of a version are one.
func historyOf(u v1alpha1.User) (history v1alpha1.User, lasts bool) {
	switch u.Kind {
	case "Deployment", "StatefulSet", "DaemonSet", "CronJob":
	default:
		return v1alpha1.User{Namespace: u.Namespace}, false
	}
	if at := strings.LastIndexByte(u.Name, '-'); at >= 0 {
		last := u.Name[at+1:]
		number, versioned := strings.CutPrefix(last, "v")
		if _, err := strconv.Atoi(number); slices.Contains(colours, last) || versioned && err == nil {
			u.Name = u.Name[:at]
		}
	}
	return WithoutUID(u), true
}
