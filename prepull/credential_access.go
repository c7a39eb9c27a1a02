package prepull

import (
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// pulls is what is known of pull secrets. It is only read.
type pulls struct {
	// off is set if pull secrets are not used.
	off bool

	// copies are the names of the stored copies by their sources, and changed is when each copy changed last.
	copies  map[v1alpha1.SecretReference]string
	changed map[string]time.Time

	// problems say why a source cannot be had. What is neither here nor copied is still to be read or copied.
	problems map[v1alpha1.SecretReference]string
}

func (p pulls) equal(other pulls) bool {
	return p.off == other.off && maps.Equal(p.copies, other.copies) && maps.Equal(p.problems, other.problems) &&
		maps.EqualFunc(p.changed, other.changed, time.Time.Equal)
}

// access is how an image gets past its registry.
type access struct {
	// copies are the names of the Secrets in our namespace that it is pulled with, sorted.
	copies []string

	// awaited is set if one of them is on its way: without it the image would fail for nothing.
	awaited bool

	// advice is what to say of its pull secrets when the registry denies it.
	advice string

	// changed is when one of the copies changed last; zero if there is none.
	changed time.Time
}

// The openings of an advice, for withAdvice.
const (
	adviceOff    = "pull secrets are switched off (pullSecrets: false)"
	adviceNone   = "no pull secret is known for it"
	adviceSecret = "the Secret "
	advicePulled = "it is pulled with "
)

// access of an image.
func (p pulls) access(c *candidate) access {
	switch {
	case p.off:
		return access{advice: adviceOff}
	case len(c.pullSecrets) == 0:
		return access{advice: adviceNone}
	}
	var a access
	var problem string
	var used []string
	for _, ref := range c.pullSecrets {
		used = append(used, secretWords(ref))
		name, copied := p.copies[ref]
		why := p.problems[ref]
		if copied {
			a.copies = append(a.copies, name)
			a.changed = latest(a.changed, p.changed[name])
		}
		if why != "" && problem == "" {
			problem = adviceSecret + secretWords(ref) + " " + why
		}
		a.awaited = a.awaited || !copied && why == ""
	}
	slices.Sort(a.copies)
	a.copies = slices.Compact(a.copies)
	a.advice = problem
	if problem == "" {
		a.advice = advicePulled + strings.Join(used, ", ")
	}
	return a
}

// withAdvice is the message about a denied pull with the advice of now, instead of an earlier one.
func withAdvice(message, advice string) string {
	if i := strings.LastIndex(message, "; "); i >= 0 {
		for _, opening := range []string{adviceOff, adviceNone, adviceSecret, advicePulled} {
			if strings.HasPrefix(message[i+2:], opening) {
				message = message[:i]
				break
			}
		}
	}
	if advice == "" {
		return message
	}
	return message + "; " + advice
}

// demands are the pull secrets that images with a place need, and whether the registry denies one of them.
func demands(classes []*classPlan) map[v1alpha1.SecretReference]bool {
	needed := map[v1alpha1.SecretReference]bool{}
	for _, cp := range classes {
		for c := range cp.verdicts {
			if _, over := cp.over[c]; over || len(c.pullSecrets) == 0 {
				continue
			}
			denied := c.denied()
			for _, ref := range c.pullSecrets {
				needed[ref] = needed[ref] || denied
			}
		}
	}
	return needed
}

// denied tells whether the status of the image says that the registry denies it.
func (c *candidate) denied() bool {
	return slices.ContainsFunc(c.objects, func(o *v1alpha1.PrepullImage) bool {
		failed := meta.FindStatusCondition(o.Status.Conditions, v1alpha1.ConditionPullFailed)
		return failed != nil && failed.Status == metav1.ConditionTrue && failed.Reason == causeDenied.reason
	})
}

// renewed is what is remembered of a failing image whose pull secret changed since it was denied: it is due from then on.
// A node that still fails is left to its kubelet, which tries again by itself.
func (t trial) renewed() *v1alpha1.Retry {
	r := t.retry
	if r == nil || len(t.image.failed) > 0 || !t.denied() || !t.access.changed.After(r.Time.Add(-backOff(r.Failures))) {
		return r
	}
	if !t.access.changed.Before(r.Time.Time) {
		return r
	}
	return &v1alpha1.Retry{NodeClass: r.NodeClass, Failures: r.Failures, Time: metav1.NewTime(t.access.changed)}
}

// pullSecrets are the copies that a list of images needs, sorted; none if it needs none.
func pullSecrets(images []entry) []corev1.LocalObjectReference {
	names := map[string]bool{}
	for _, e := range images {
		for _, name := range e.access.copies {
			names[name] = true
		}
	}
	var secrets []corev1.LocalObjectReference
	for _, name := range slices.Sorted(maps.Keys(names)) {
		secrets = append(secrets, corev1.LocalObjectReference{Name: name})
	}
	return secrets
}
