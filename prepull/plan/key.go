package plan

import (
	"maps"
	"slices"
	"strings"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// Key is an entry in the copy of a pull secret.
type Key struct {
	Secret v1alpha1.SecretReference

	// Repository that it is for, as the kubelet has it, such as docker.io/library/nginx.
	Repository string
}

// Use is what a key is for.
type Use int

const (
	// UseGuard keeps an image from being pulled with a Secret that its users did not name, since the kubelet takes the key of
	// another image for its own too: it is tried without a login first.
	UseGuard Use = iota
	// UseLogin gives an image the logins of a Secret that its users named.
	UseLogin
	// UseDenied is the same for an image that the registry denies.
	UseDenied
)

// NeededKeys are those that images with a place need. One that fails needs none before its next try, unless it is denied: then a
// new login may be all that it lacks.
func NeededKeys(classes []*ClassPlan) map[Key]Use {
	needed := map[Key]Use{}
	var placed []string
	for _, cp := range classes {
		// Whether there is a login for an image decides whether it is withheld.
		for c := range cp.withheld {
			for _, ref := range c.PullSecrets {
				key := Key{ref, c.repository()}
				needed[key] = max(needed[key], UseLogin)
			}
		}
		for _, i := range cp.Images {
			denied := i.denied()
			if i.over.reason != "" || i.standing == standingOut && !denied {
				continue
			}
			placed = append(placed, i.repository())
			use := UseLogin
			if denied {
				use = UseDenied
			}
			for _, ref := range i.PullSecrets {
				key := Key{ref, i.repository()}
				needed[key] = max(needed[key], use)
			}
		}
	}
	slices.Sort(placed)
	placed = slices.Compact(placed)
	for _, key := range slices.Collect(maps.Keys(needed)) {
		for _, repository := range offered(placed, key.Repository) {
			guard := Key{key.Secret, repository}
			needed[guard] = max(needed[guard], UseGuard)
		}
	}
	return needed
}

// offered are those of some repositories, sorted, for which a kubelet uses a key: they begin with it.
func offered(repositories []string, key string) []string {
	first, _ := slices.BinarySearch(repositories, key)
	end := first
	for end < len(repositories) && strings.HasPrefix(repositories[end], key) {
		end++
	}
	return repositories[first:end]
}

// awaitGuards lets images wait that would be pulled with a Secret which their users did not name.
func awaitGuards(images []*Candidate, p Pulls) {
	if len(p.Keys) == 0 {
		return
	}
	at := map[string][]*Candidate{}
	for _, c := range images {
		at[c.repository()] = append(at[c.repository()], c)
	}
	repositories := slices.Sorted(maps.Keys(at))
	for key, why := range p.Keys {
		if why != "" {
			continue
		}
		for _, repository := range offered(repositories, key.Repository) {
			if _, guarded := p.Keys[Key{key.Secret, repository}]; guarded {
				continue
			}
			for _, c := range at[repository] {
				c.access.Awaited = true
			}
		}
	}
}
