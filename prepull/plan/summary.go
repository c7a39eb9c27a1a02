package plan

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/warmth"
)

// summary is how an image stands on all classes of nodes together.
type summary struct {
	// skipped is why the image has no place on any node; empty if it has one.
	skipped skip

	// over is why a class that could use the image leaves it out while it has a place in others; empty if none does. There
	// are overClasses of them, of usingClasses that could use it.
	over                      skip
	overClasses, usingClasses int

	// withheld is why a class that could use the image leaves it out for its pull secrets; empty if none does.
	withheld string

	// widely is why the image goes to more nodes than need it, empty if it does not.
	widely string

	desired, ready, failed int32
	pulling                bool
	size                   int64
	slowest                time.Duration
	retries                []v1alpha1.Retry

	// failure is one of those that hold up nodes, and failureNode where it happened. Nil if there is none.
	failure     *warmth.Failure
	failureNode string

	// advice is what to say of the pull secrets if the registry denies the image.
	advice string

	// broken is why a prepull pod does not even get to its images, and brokenNode where. Nil if all do.
	broken     *warmth.Failure
	brokenNode string

	// refused is why a class that should have the image has no DaemonSet, or no pods.
	refused refusal
}

func summarize(c *Candidate, p *Plan) summary {
	s := summary{skipped: skip{reason: skippedNoNodes, why: p.nowhere[c]}, advice: c.access.advice}
	s.widely = p.ignored.Widely(c.placements)
	if unwanted, found := p.unwanted[c]; found {
		s.skipped = unwanted
	}
	for _, cp := range p.Classes {
		if w := cp.Warmth.Images[c.Name]; w != nil {
			s.observe(w)
		}
		if cp.withheld[c] && s.withheld == "" {
			secret := c.PullSecrets[slices.IndexFunc(c.PullSecrets, cp.Withholds)]
			s.withheld = p.ignored.Withheld(c.placements, secret)
		}
		image := cp.of[c]
		if image == nil {
			continue
		}
		s.usingClasses++
		if image.over.reason != "" {
			s.overClasses++
			s.over = cmp.Or(s.over, image.over)
		} else {
			s.count(image, cp)
		}
		if image.retry != nil {
			s.retries = append(s.retries, *image.retry)
		}
	}
	switch {
	case s.overClasses < s.usingClasses:
		s.skipped = skip{}
	case s.usingClasses > 0:
		s.skipped, s.over = s.over, skip{}
	case s.withheld != "":
		s.skipped = skip{reason: skippedWithheld, why: s.withheld}
	}
	return s
}

// count adds the nodes of a class that should have the image.
func (s *summary) count(image *ClassImage, cp *ClassPlan) {
	w := image.Warmth
	s.desired += int32(len(cp.Pullable))
	s.ready += int32(w.Ready())
	s.failed += int32(len(w.Failed))
	s.pulling = s.pulling || len(w.Pulling) > 0
	s.refused = cmp.Or(s.refused, cp.laneOf(image).refused)
	if node, f := firstFailure(w.Failed); f != nil && s.failure == nil {
		s.failureNode, s.failure = node, f
	}
	if node, f := firstFailure(cp.Warmth.Broken); f != nil && s.broken == nil {
		s.brokenNode, s.broken = node, f
	}
}

// observe adds what a class tells about the image itself.
func (s *summary) observe(w *warmth.Image) {
	s.size = max(s.size, w.Size)
	s.slowest = max(s.slowest, w.Slowest())
}

// failureWords are the words for the reason of the condition PullFailed.
func (s *summary) failureWords(reason string) string {
	if s.failure != nil {
		return s.failure.Words
	}
	return warmth.CauseOf(reason).Words
}

// firstFailure is the failure of the first node by name, nil if there is none.
func firstFailure(failures map[string]warmth.Failure) (string, *warmth.Failure) {
	if len(failures) == 0 {
		return "", nil
	}
	node := slices.Min(slices.Collect(maps.Keys(failures)))
	f := failures[node]
	return node, &f
}
