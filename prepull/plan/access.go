package plan

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/nodeclass"
	"github.com/kube-prepull/kube-prepull/prepull/warmth"
)

// Pulls is what is known of pull secrets. It is only read.
type Pulls struct {
	// Off is set if pull secrets are not used.
	Off bool

	// Copies are the names of the stored copies by their sources, and Changed is when each copy changed last.
	Copies  map[v1alpha1.SecretReference]string
	Changed map[string]time.Time

	// Keys are what is decided of the needed ones: empty if the copy has an entry, otherwise why it has none, in words.
	Keys map[Key]string

	// Problems say why a source cannot be had. What is neither here nor in Keys is still to be read or copied.
	Problems map[v1alpha1.SecretReference]string
}

func (p Pulls) Equal(other Pulls) bool {
	return p.Off == other.Off && maps.Equal(p.Copies, other.Copies) && maps.Equal(p.Keys, other.Keys) && maps.Equal(p.Problems, other.Problems) &&
		maps.EqualFunc(p.Changed, other.Changed, time.Time.Equal)
}

// Access is how an image gets past its registry.
type Access struct {
	// copies are the Secrets in our namespace that it is pulled with, by name.
	copies []secretCopy

	// Awaited is set if one of them is on its way: without it the image would fail for nothing.
	Awaited bool

	// advice is what to say of its pull secrets when the registry denies it.
	advice string

	// changed is when one of the copies changed last; zero if there is none.
	changed time.Time
}

// secretCopy is a copy of a pull secret.
type secretCopy struct {
	name string
	of   v1alpha1.SecretReference
}

// copiesIn are those of the copies that may be on the nodes of a class.
func (a Access) copiesIn(c *nodeclass.Class) []secretCopy {
	return slices.DeleteFunc(slices.Clone(a.copies), func(s secretCopy) bool { return c.Withholds(s.of) })
}

// The openings of an advice, for withAdvice.
const (
	adviceOff    = "pull secrets are switched off (pullSecrets: false)"
	adviceNone   = "no pull secret is known for it"
	adviceSecret = "the Secret "
	advicePulled = "it is pulled with "
)

// Access of an image.
func (p Pulls) Access(c *Candidate) Access {
	switch {
	case p.Off:
		return Access{advice: adviceOff}
	case len(c.PullSecrets) == 0:
		return Access{advice: adviceNone}
	}
	var a Access
	var problem, useless string
	var used []string
	for _, ref := range c.PullSecrets {
		name, copied := p.Copies[ref]
		why := p.Problems[ref]
		none, decided := p.Keys[Key{ref, c.repository()}]
		if copied && decided && none == "" {
			a.copies = append(a.copies, secretCopy{name, ref})
			a.changed = latest(a.changed, p.Changed[name])
		}
		switch {
		case why != "":
			problem = cmp.Or(problem, adviceSecret+ref.String()+" "+why)
		case none != "":
			useless = cmp.Or(useless, adviceSecret+ref.String()+" "+none)
		default:
			used = append(used, ref.String())
			a.Awaited = a.Awaited || !decided
		}
	}
	slices.SortFunc(a.copies, func(x, y secretCopy) int { return strings.Compare(x.name, y.name) })
	// Others may well have none for this registry.
	if len(used) > 0 {
		useless = advicePulled + strings.Join(used, ", ")
	}
	a.advice = cmp.Or(problem, useless)
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

// denied tells whether the status of the image says that the registry denies it.
func (c *Candidate) denied() bool {
	return slices.ContainsFunc(c.objects, func(o *v1alpha1.PrepullImage) bool {
		failed := meta.FindStatusCondition(o.Status.Conditions, v1alpha1.ConditionPullFailed)
		return failed != nil && failed.Status == metav1.ConditionTrue && failed.Reason == warmth.CauseDenied.Reason
	})
}

// renewed is what is remembered of a failing image whose pull secret changed since it was denied: it is due from then on. Both
// times are in whole seconds: within one, the former credentials may have been denied.
// A node that still fails is left to its kubelet, which tries again by itself.
func (i *ClassImage) renewed(r *v1alpha1.Retry) *v1alpha1.Retry {
	changed := i.access.changed
	if r == nil || len(i.Warmth.Failed) > 0 || !i.denied() || changed.Before(lastTry(r)) {
		return r
	}
	if !changed.Before(r.Time.Time) {
		return r
	}
	return &v1alpha1.Retry{NodeClass: r.NodeClass, Failures: r.Failures, Time: metav1.NewTime(changed), Reason: r.Reason}
}

// pullSecrets are the copies that the list of a class needs, and those of noop, sorted; none if it needs none.
func pullSecrets(c *nodeclass.Class, images []entry, noop []string) []corev1.LocalObjectReference {
	names := map[string]bool{}
	for _, name := range noop {
		names[name] = true
	}
	for _, e := range images {
		for _, s := range e.access.copiesIn(c) {
			names[s.name] = true
		}
	}
	var secrets []corev1.LocalObjectReference
	for _, name := range slices.Sorted(maps.Keys(names)) {
		secrets = append(secrets, corev1.LocalObjectReference{Name: name})
	}
	return secrets
}
