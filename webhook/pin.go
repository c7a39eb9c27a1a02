package webhook

import (
	"maps"
	"slices"

	"github.com/distribution/reference"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// maxAnnotations is what all annotations of an object may have together, in bytes.
// Source: TotalAnnotationSizeLimitB in k8s.io/apimachinery/pkg/api/validation/objectmeta.go.
const maxAnnotations = 256 << 10

// question is a container whose tag has to be resolved.
type question struct {
	container

	// fresh asks for where the tag points now: the image is the one of before, so the request, such as a restart, is
	// about what is new in it.
	fresh bool

	// keep is the pin that stays if the registry does not answer; empty if there is none.
	keep string
}

// pinPlan is what becomes of the pins of a template.
type pinPlan struct {
	// replaces is set if there is a template that this one takes the place of.
	replaces  bool
	set       map[string]string
	remove    []string
	questions []question
}

// planPins decides about the pins of a template that replaces old, which is nil for a new one. Which images are pinned
// depends on the mode, which is not empty.
func planPins(t, old *template, mode string) pinPlan {
	p := pinPlan{replaces: old != nil}
	used := map[string]bool{}
	for _, c := range t.containers {
		if !pinnable(&c, mode) {
			continue
		}
		used[c.pin] = true
		if old == nil {
			if _, ok := t.pinned(&c); !ok {
				p.questions = append(p.questions, question{container: c})
			}
			continue
		}
		if _, ok := t.pinned(&c); ok && t.annotations[c.pin] != old.annotations[c.pin] {
			continue // whoever sends a pin of their own wants it: it is that of an earlier revision
		}
		q := question{container: c}
		if before := old.container(c.pin); before != nil && before.image == c.image {
			q.fresh = true
			if _, ok := old.pinned(before); ok {
				q.keep = old.annotations[c.pin]
			}
		}
		p.questions = append(p.questions, q)
	}
	for _, key := range slices.Sorted(maps.Keys(t.annotations)) {
		if isPin(key) && !used[key] && p.replaces {
			p.remove = append(p.remove, key)
		}
	}
	return p
}

// restorePins gives a template back what a request dropped that changes nothing else in it: otherwise the workload would
// roll for that. Pins that are good for another digest stay; kubectl rollout undo may send them.
func restorePins(t, old *template) map[string]string {
	set := map[string]string{}
	for key, value := range old.annotations {
		if !isPin(key) || t.annotations[key] == value {
			continue
		}
		if c := t.container(key); c != nil {
			if _, ok := t.pinned(c); ok {
				continue
			}
		}
		set[key] = value
	}
	return set
}

// pinnable is true for a container whose tag is one that the mode pins.
func pinnable(c *container, mode string) bool {
	named, err := reference.ParseNormalizedNamed(c.image)
	if err != nil || c.policy == corev1.PullNever {
		return false
	}
	if _, digested := named.(reference.Digested); digested {
		return false
	}
	_, tag := v1alpha1.SplitTag(c.image)
	return (mode == v1alpha1.RewriteTags || tag == "" || tag == "latest") && len(validation.IsQualifiedName(c.pin)) == 0
}

// settle writes what became of a question into the plan: a pin of the digest, or without one the pin to keep, if any.
func (p *pinPlan) settle(t *template, q question, digest string, keep bool) {
	value := ""
	switch {
	case digest != "":
		value = v1alpha1.Pin(q.image, digest)
	case keep:
		value = q.keep
	}
	stored, found := t.annotations[q.pin]
	switch {
	case value == "" && found && p.replaces:
		p.remove = append(p.remove, q.pin)
	case value != "" && value != stored:
		if p.set == nil {
			p.set = map[string]string{}
		}
		p.set[q.pin] = value
	}
}

// fits is true if the template may have these annotations too.
func (t *template) fits(set map[string]string) bool {
	size := t.all
	for key, value := range set {
		size += len(key) + len(value)
	}
	return size <= maxAnnotations
}
