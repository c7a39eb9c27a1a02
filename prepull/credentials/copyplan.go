package credentials

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// divergenceGrace is how long a source may say something else than its copy before it gets another one, or be gone before it
// has none. In between a rotation reaches all namespaces, and what was deleted to be made anew is there again.
const divergenceGrace = 30 * time.Minute

// pullSource is a pull secret that images need, as it was read last.
type pullSource struct {
	ref v1alpha1.SecretReference

	// hash of its credentials; empty if it has none, or if it could not be read.
	hash string

	// problem is why it cannot be had, in words; empty if it can, or if it could not be read.
	problem string

	// refused is set if the problem is that it may not be used: that is obeyed at once.
	refused bool
}

func (s pullSource) missing() bool { return s.hash == "" && s.problem != "" }

// copyPlan is what has to be written so that every source that can be had has its copy.
type copyPlan struct {
	create []pullCopy
	update []pullCopy

	// unneeded are the names of copies without a source, sorted. They may go when no DaemonSet names them.
	unneeded []string

	// of is the name of the copy of each source that has one.
	of map[v1alpha1.SecretReference]string
}

// planCopies gives every wanted source a copy. The name of a copy never changes, because another one in the template of
// a DaemonSet restarts a pod on every node: a source that rotates takes its copy along, with all that share it. Those
// that do not follow within the grace time get another one. What cannot be read at the moment is left as it is.
func planCopies(wanted []pullSource, existing []pullCopy, now time.Time) copyPlan {
	now = now.Truncate(time.Second)
	p := copyPlan{of: map[v1alpha1.SecretReference]string{}}
	without := map[v1alpha1.SecretReference]pullSource{}
	for _, s := range wanted {
		without[s.ref] = s
	}
	taken := map[string]bool{}
	var copies []pullCopy
	for _, was := range slices.SortedFunc(slices.Values(existing), func(a, b pullCopy) int { return strings.Compare(a.name, b.name) }) {
		taken[was.name] = true
		is := was.follow(without, now)
		if len(is.Sources) == 0 {
			p.unneeded = append(p.unneeded, was.name)
			continue
		}
		for _, ref := range is.Sources {
			delete(without, ref)
		}
		copies = append(copies, is)
	}
	left := make([]pullSource, 0, len(without))
	for _, s := range without {
		left = append(left, s)
	}
	slices.SortFunc(left, func(a, b pullSource) int { return workload.CompareSecrets(a.ref, b.ref) })
	for _, s := range left {
		if s.hash == "" || s.refused {
			continue
		}
		i := slices.IndexFunc(copies, func(c pullCopy) bool { return c.hash == s.hash })
		if i < 0 {
			i = len(copies)
			copies = append(copies, pullCopy{name: copyName(s.ref, taken), hash: s.hash, changed: now})
		}
		copies[i].Sources = append(copies[i].Sources, s.ref)
		slices.SortFunc(copies[i].Sources, workload.CompareSecrets)
	}
	p.compare(copies, existing)
	return p
}

// compare finds what differs between the copies as they should be and as they are.
func (p *copyPlan) compare(copies, existing []pullCopy) {
	stored := map[string]pullCopy{}
	for _, c := range existing {
		stored[c.name] = c
	}
	for _, c := range copies {
		for _, ref := range c.Sources {
			p.of[ref] = c.name
		}
		if was, found := stored[c.name]; !found {
			p.create = append(p.create, c)
		} else if !c.equal(was) {
			p.update = append(p.update, c)
		}
	}
}

// follow is a copy as it should be, with the sources that are still wanted and belong to it; none if it is not needed.
func (c pullCopy) follow(wanted map[v1alpha1.SecretReference]pullSource, now time.Time) pullCopy {
	next := c
	next.Sources, next.divergent = nil, map[v1alpha1.SecretReference]divergence{}
	var members []pullSource
	for _, ref := range c.Sources {
		s, found := wanted[ref]
		mark, strayed := c.divergent[ref]
		if !found || s.refused || s.missing() && strayed && now.Sub(mark.since) >= divergenceGrace {
			continue
		}
		members = append(members, s)
	}
	next.hash = c.lead(members)
	rotated := next.hash != c.hash
	if rotated {
		next.changed = now
	}
	for _, s := range members {
		mark, strayed := c.divergent[s.ref]
		switch {
		case s.hash == next.hash:
			next.Sources = append(next.Sources, s.ref)
			continue
		case s.hash == "" && !s.missing() && !rotated:
			// It could not be read, which says nothing.
		case (rotated || !s.missing()) && (!strayed || mark.missing):
			// It was not followed: what it says later is no rotation.
			mark, strayed = divergence{since: now}, true
		case !strayed:
			mark, strayed = divergence{missing: true, since: now}, true
		}
		if s.hash != "" && now.Sub(mark.since) >= divergenceGrace {
			continue
		}
		next.Sources = append(next.Sources, s.ref)
		if strayed {
			next.divergent[s.ref] = mark
		}
	}
	return next
}

// lead is the hash of what a copy should say: what the first of its sources says that rotated, or what it says now. What
// is known to differ leads only if nothing else speaks for the copy.
func (c pullCopy) lead(members []pullSource) string {
	stays := false
	for _, s := range members {
		mark, strayed := c.divergent[s.ref]
		differs := strayed && !mark.missing
		if s.hash != "" && s.hash != c.hash && !differs {
			return s.hash
		}
		stays = stays || s.hash == c.hash || s.hash == "" && !differs
	}
	if stays {
		return c.hash
	}
	for _, s := range members {
		if s.hash != "" {
			return s.hash
		}
	}
	return c.hash
}

// copyName is a name for the copy that a source is the first of, and takes it.
func copyName(ref v1alpha1.SecretReference, taken map[string]bool) string {
	for i := 0; ; i++ {
		text := ref.String()
		if i > 0 {
			text = fmt.Sprintf("%s/%d", text, i)
		}
		sum := sha256.Sum256([]byte(text))
		if name := CopyPrefix + hex.EncodeToString(sum[:5]); !taken[name] {
			taken[name] = true
			return name
		}
	}
}
