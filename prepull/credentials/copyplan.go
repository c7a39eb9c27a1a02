package credentials

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/plan"
	"github.com/kube-prepull/kube-prepull/prepull/pullsecret"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// missingGrace is how long a source may be gone before it has no copy. What was deleted to be made anew is there again by then.
const missingGrace = 30 * time.Minute

// pullSource is a pull secret that images need, as it was read last.
type pullSource struct {
	ref v1alpha1.SecretReference

	// config are its credentials; nothing if it has none, or if it could not be read.
	config pullsecret.Config

	// problem is why it cannot be had, in words; empty if it can, or if it could not be read.
	problem string

	// refused is set if the problem is that it may not be used: that is obeyed at once.
	refused bool

	// keys are the repositories that its copy should have a key for.
	keys map[string]plan.Use
}

func (s pullSource) read() bool { return len(s.config.Auths) > 0 }

// copyPlan is what has to be written so that every source that can be had has its copy.
type copyPlan struct {
	create []pullCopy
	update []pullCopy

	// unneeded are the names of copies without a source or a login, sorted. They may go when no DaemonSet names them.
	unneeded []string

	// of are the copies of the sources that have one.
	of map[v1alpha1.SecretReference]pullCopy

	// keys is what becomes of the keys: empty if a copy has it, otherwise why not, in words. What is not known yet is not there.
	keys map[plan.Key]string
}

// planCopies gives every wanted source a copy with the logins for the repositories that need them, and nothing else. noop is
// the repository of the image that every prepull pod has: no key may be offered to it.
func planCopies(wanted []pullSource, existing []pullCopy, noop string, now time.Time) copyPlan {
	now = now.Truncate(time.Second)
	p := copyPlan{of: map[v1alpha1.SecretReference]pullCopy{}, keys: map[plan.Key]string{}}
	mine, taken := map[v1alpha1.SecretReference]pullCopy{}, map[string]bool{}
	existing = slices.SortedFunc(slices.Values(existing), func(a, b pullCopy) int { return strings.Compare(a.name, b.name) })
	for _, c := range existing {
		taken[c.name] = true
		if _, found := mine[c.Source]; !found {
			mine[c.Source] = c
		}
	}
	for _, s := range slices.SortedFunc(slices.Values(wanted), func(a, b pullSource) int { return workload.CompareSecrets(a.ref, b.ref) }) {
		was, found := mine[s.ref]
		next := s.follow(was, noop, now, p.keys)
		switch {
		case next == nil:
			continue
		case !found:
			next.name = copyName(s.ref, taken)
			p.create = append(p.create, *next)
		case !next.equal(was):
			p.update = append(p.update, *next)
		}
		p.of[s.ref] = *next
	}
	for _, c := range existing {
		if p.of[c.Source].name != c.name {
			p.unneeded = append(p.unneeded, c.name)
		}
	}
	return p
}

// follow is the copy of a source as it should be, nil if it should have none. was is what it has, if it has one: while the
// source cannot be read, or is gone for a while, that speaks for it. What is known of its keys is noted.
func (s pullSource) follow(was pullCopy, noop string, now time.Time, keys map[plan.Key]string) *pullCopy {
	next, config := was, s.config
	next.Source = s.ref
	switch {
	case s.read():
		next.missing = time.Time{}
	case was.name == "" || s.refused:
		return nil
	default:
		config = was.config
		if s.problem != "" && was.missing.IsZero() {
			next.missing = now
		}
		if s.problem != "" && now.Sub(next.missing) >= missingGrace {
			return nil
		}
	}
	offers, guards := map[string][]pullsecret.Entry{}, []string{}
	for repository, use := range s.keys {
		switch {
		case use == plan.UseGuard:
			guards = append(guards, repository)
		case noop == "" || !strings.HasPrefix(noop, repository):
			offers[repository] = config.Offers(repository)
		}
	}
	narrow, full := pullsecret.Narrow(offers, guards)
	next.config = narrow
	if was.name == "" || s.renews(was.config, narrow) {
		next.changed = now
	}
	s.note(keys, narrow, full, noop)
	if len(narrow.Auths) == 0 {
		return nil
	}
	return &next
}

// renews tells whether an image may be let in now that was not before: it has other logins, or is denied and had none. A key
// for a new image changes nothing for the others.
func (s pullSource) renews(was, is pullsecret.Config) bool {
	for repository, use := range s.keys {
		before, after := was.Offers(repository), is.Offers(repository)
		if len(before) > 0 && !slices.Equal(before, after) || len(before) == 0 && len(after) > 0 && use == plan.UseDenied {
			return true
		}
	}
	return false
}

// note says what becomes of the keys of a source.
func (s pullSource) note(keys map[plan.Key]string, narrow pullsecret.Config, full []string, noop string) {
	for repository, use := range s.keys {
		key := plan.Key{Secret: s.ref, Repository: repository}
		switch {
		case narrow.Has(repository):
			keys[key] = ""
		case use == plan.UseGuard:
			// There is nothing to guard it from.
		case slices.Contains(full, repository):
			keys[key] = "holds more logins than a copy has room for"
		case !s.read():
			// It is not known yet, or what the problem is says it.
		case noop != "" && strings.HasPrefix(noop, repository):
			keys[key] = fmt.Sprintf("is not used for %s: nodes would use it for the image of prepull pods, %s, too", repository, noop)
		default:
			host, _, _ := strings.Cut(repository, "/")
			keys[key] = "holds no login for " + host
		}
	}
}

// copyName is a name for the copy of a source, and takes it.
func copyName(ref v1alpha1.SecretReference, taken map[string]bool) string {
	for i := 0; ; i++ {
		text := ref.String()
		if i > 0 {
			text = fmt.Sprintf("%s/%d", text, i)
		}
		sum := sha256.Sum256([]byte(text))
		if name := v1alpha1.CopyPrefix + hex.EncodeToString(sum[:5]); !taken[name] {
			taken[name] = true
			return name
		}
	}
}
