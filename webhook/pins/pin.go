package pins

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

// Question is a container whose tag has to be resolved.
type Question struct {
	Container

	// Fresh asks for where the tag points now: the image is the one of before, so the request, such as a restart, is
	// about what is new in it.
	Fresh bool

	// Keep is the pin that stays if the registry does not answer; empty if there is none.
	Keep string
}

// Plan is what becomes of the pins of a template.
type Plan struct {
	// replaces is set if there is a template that this one takes the place of.
	replaces  bool
	Set       map[string]string
	Remove    []string
	Questions []Question
}

// PlanPins decides about the pins of a template that replaces old, which is nil for a new one. Which images are pinned
// depends on the mode, which is not empty.
func PlanPins(t, old *Template, mode string) Plan {
	p := Plan{replaces: old != nil}
	used := map[string]bool{}
	for _, c := range t.Containers {
		if !pinnable(&c, mode) {
			continue
		}
		used[c.Pin] = true
		if old == nil {
			if _, ok := t.Pinned(&c); !ok {
				p.Questions = append(p.Questions, Question{Container: c})
			}
			continue
		}
		if _, ok := t.Pinned(&c); ok && t.annotations[c.Pin] != old.annotations[c.Pin] {
			continue // whoever sends a pin of their own wants it: it is that of an earlier revision
		}
		q := Question{Container: c}
		if before := old.container(c.Pin); before != nil && before.Image == c.Image {
			q.Fresh = true
			if _, ok := old.Pinned(before); ok {
				q.Keep = old.annotations[c.Pin]
			}
		}
		p.Questions = append(p.Questions, q)
	}
	for _, key := range slices.Sorted(maps.Keys(t.annotations)) {
		if IsPin(key) && !used[key] && p.replaces {
			p.Remove = append(p.Remove, key)
		}
	}
	return p
}

// RestorePins gives a template back what a request dropped that changes nothing else in it: otherwise the workload would
// roll for that. Pins that are good for another digest stay; kubectl rollout undo may send them.
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

// Settle writes what became of a question into the plan: a pin of the digest, or without one the pin to keep, if any.
func (p *Plan) Settle(t *Template, q Question, digest string, keep bool) {
	value := ""
	switch {
	case digest != "":
		value = v1alpha1.Pin(q.Image, digest)
	case keep:
		value = q.Keep
	}
	stored, found := t.annotations[q.Pin]
	switch {
	case value == "" && found && p.replaces:
		p.Remove = append(p.Remove, q.Pin)
	case value != "" && value != stored:
		if p.Set == nil {
			p.Set = map[string]string{}
		}
		p.Set[q.Pin] = value
	}
}

// Fits is true if the template may have these annotations too.
func (t *Template) Fits(set map[string]string) bool {
	size := t.all
	for key, value := range set {
		size += len(key) + len(value)
	}
	return size <= maxAnnotations
}
