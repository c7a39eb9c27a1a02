package pins

import (
	"slices"

	"github.com/distribution/reference"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// maxAnnotations is what all annotations of an object may have together, in bytes.
// Source: TotalAnnotationSizeLimitB in k8s.io/apimachinery/pkg/api/validation/objectmeta.go.
const maxAnnotations = 256 << 10

// Question is a container whose tag has to be resolved.
type Question struct {
	Container

	// Fresh asks for where the tag points now: the image is the one of before, so the request, such as a restart, is
	// about what is new in it.
	Fresh bool

	// Keep is the pin that stays if the registry does not answer; empty if there is none.
	Keep string

	// Brought is the pin that the request brings, where there was another one or none. A person may have written it, or who
	// undoes a rollout: it counts only if an earlier revision has it, or if it is the answer.
	Brought string
}

// Plan is what becomes of the pins of a template.
type Plan struct {
	// replaces is set if there is a template that this one takes the place of, and same if they differ in pins alone.
	replaces  bool
	same      bool
	Set       map[string]string
	Remove    []string
	Questions []Question

	// Refused are the containers with a pin that the request brings and that goes, because their image is none to be pinned.
	Refused []Container
}

// PlanPins decides about the pins of a template that replaces old, which is nil for a new one. Which images are pinned
// depends on the mode, which is not empty.
func PlanPins(t, old *Template, mode string) Plan {
	p := Plan{replaces: old != nil}
	used := map[string]bool{}
	for _, c := range t.Containers {
		q := Question{Container: c, Brought: t.brought(&c, old)}
		if !pinnable(&c, mode) {
			if q.Brought != "" {
				p.Refused = append(p.Refused, c)
			}
			continue
		}
		used[c.Pin], q.Fresh = true, q.Brought != ""
		if old != nil {
			if before := old.container(c.Pin); before != nil && before.Image == c.Image {
				q.Fresh = true
				q.Keep = old.goodPin(before)
			}
		}
		p.Questions = append(p.Questions, q)
	}
	refused := func(key string) bool {
		return slices.ContainsFunc(p.Refused, func(c Container) bool { return c.Pin == key })
	}
	for key := range t.annotations {
		if IsPin(key) && !used[key] && (p.replaces || refused(key)) {
			p.Remove = append(p.Remove, key)
		}
	}
	slices.Sort(p.Remove)
	return p
}

// PlanSame decides about the pins of a template that differs from old in nothing else: what a request drops comes back, or
// the workload would roll for that, and what it brings has to be known.
func PlanSame(t, old *Template, mode string) Plan {
	p := Plan{replaces: true, same: true, Set: RestorePins(t, old)}
	for _, c := range t.Containers {
		brought := t.brought(&c, old)
		q := Question{Container: c, Fresh: true, Keep: old.annotations[c.Pin], Brought: brought}
		switch {
		case brought == "" || mode == "":
		case pinnable(&c, mode):
			p.Questions = append(p.Questions, q)
		default:
			p.Refused = append(p.Refused, c)
			p.Settle(t, q, "", q.Keep != "")
		}
	}
	return p
}

// Keeps tells whether the pin of before stays where there is no answer: not if a registry refused one, unless nothing else changes.
func (p *Plan) Keeps(q Question, refused bool) bool { return q.Keep != "" && (p.same || !refused) }

// Brought are the containers with a pin that a request brings. old is nil for a new template.
func Brought(t, old *Template) []Container {
	var found []Container
	for _, c := range t.Containers {
		if t.brought(&c, old) != "" {
			found = append(found, c)
		}
	}
	return found
}

// brought is the pin of a container, if it is good for its image and was not there before; otherwise empty.
func (t *Template) brought(c *Container, old *Template) string {
	pin := t.goodPin(c)
	if old != nil && old.annotations[c.Pin] == pin {
		return ""
	}
	return pin
}

// goodPin is the pin of a container if it is good for its image, otherwise empty.
func (t *Template) goodPin(c *Container) string {
	if _, ok := t.Pinned(c); !ok {
		return ""
	}
	return t.annotations[c.Pin]
}

// Accept leaves pins that the request brings as they are, if they are known.
func (p *Plan) Accept(known func(key, pin string) bool) {
	p.Questions = slices.DeleteFunc(p.Questions, func(q Question) bool { return q.Brought != "" && known(q.Pin, q.Brought) })
}

// RestorePins gives a template back what a request dropped that changes nothing else in it. Pins that are good for another
// digest are left to others; kubectl rollout undo may send them.
func RestorePins(t, old *Template) map[string]string {
	set := map[string]string{}
	for key, value := range old.annotations {
		if !IsPin(key) || t.annotations[key] == value {
			continue
		}
		if c := t.container(key); c != nil {
			if _, ok := t.Pinned(c); ok {
				continue
			}
		}
		set[key] = value
	}
	return set
}

// pinnable is true for a container whose tag is one that the mode pins.
func pinnable(c *Container, mode string) bool {
	named, err := reference.ParseNormalizedNamed(c.Image)
	if err != nil || c.Policy == corev1.PullNever {
		return false
	}
	if _, digested := named.(reference.Digested); digested {
		return false
	}
	_, tag := v1alpha1.SplitTag(c.Image)
	return (mode == v1alpha1.RewriteTags || tag == "" || tag == "latest") && len(validation.IsQualifiedName(c.Pin)) == 0
}

// Settle writes what became of a question into the plan, and returns it: a pin of the digest, or without one the pin to keep, if
// any.
func (p *Plan) Settle(t *Template, q Question, digest string, keep bool) string {
	value := ""
	switch {
	case digest != "":
		value = v1alpha1.Pin(q.Image, digest)
	case keep:
		value = q.Keep
	}
	stored, found := t.annotations[q.Pin]
	switch {
	case value == "" && found && (p.replaces || q.Brought != ""):
		p.Remove = append(p.Remove, q.Pin)
	case value != "" && value != stored:
		if p.Set == nil {
			p.Set = map[string]string{}
		}
		p.Set[q.Pin] = value
	}
	return value
}

// Fits is true if the template may have these annotations too.
func (t *Template) Fits(set map[string]string) bool {
	size := t.all
	for key, value := range set {
		size += len(key) + len(value)
	}
	return size <= maxAnnotations
}
