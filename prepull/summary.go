package prepull

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

const (
	skippedOverBudget = "OverBudget"
	skippedNoNodes    = "NoNodes"
)

// summary is how an image stands on all classes of nodes together.
type summary struct {
	// skipped is why the image has no place on any node, in a word, and why the same in a sentence; empty if it has one.
	skipped string
	why     string
	budget  int

	desired, ready, failed int32
	pulling                bool
	size                   int64
	slowest                time.Duration
	retries                []v1alpha1.Retry

	// failure is one of those that hold up nodes, and failureNode where it happened. Nil if there is none.
	failure     *failure
	failureNode string

	// advice is what to say of the pull secrets if the registry denies the image.
	advice string

	// broken is why a prepull pod does not even get to its images, and brokenNode where. Nil if all do.
	broken     *failure
	brokenNode string
}

func summarize(c *candidate, classes []*classPlan, budget int) summary {
	s := summary{skipped: skippedNoNodes, why: "No Linux node matches.", budget: budget, advice: c.access.advice}
	over := false
	for _, cp := range classes {
		if !cp.placed[c] {
			continue
		}
		if rank, found := cp.over[c]; found {
			if s.skipped != "" && !over {
				s.skipped = skippedOverBudget
				s.why = fmt.Sprintf("%s, and %d go before this one.", s.budgetWords(), rank-1)
			}
			over = true
		} else {
			s.skipped, s.why = "", ""
			s.count(c, cp)
		}
		if v := cp.verdicts[c]; v.retry != nil {
			s.retries = append(s.retries, *v.retry)
		}
		s.observe(cp.warmth.images[c.name])
	}
	return s
}

// count adds the nodes of a class that should have the image.
func (s *summary) count(c *candidate, cp *classPlan) {
	w := cp.warmth.images[c.name]
	for _, n := range cp.waiting {
		if !c.wantedOn(n) {
			continue
		}
		s.desired++
		if w.has(n.Name) {
			s.ready++
		} else if _, failed := w.failed[n.Name]; failed {
			s.failed++
		}
	}
	s.pulling = s.pulling || len(w.pulling) > 0
	if node, f := firstFailure(w.failed); f != nil && s.failure == nil {
		s.failureNode, s.failure = node, f
	}
	if node, f := firstFailure(cp.warmth.broken); f != nil && s.broken == nil {
		s.brokenNode, s.broken = node, f
	}
}

// observe adds what a class tells about the image itself.
func (s *summary) observe(w *imageWarmth) {
	s.size = max(s.size, w.size)
	for _, took := range w.ran {
		s.slowest = max(s.slowest, took)
	}
}

func (s *summary) budgetWords() string {
	return fmt.Sprintf("A node gets %d images at most (maxImagesPerNode)", s.budget)
}

// failureWords are the words for the reason of the condition PullFailed.
func (s *summary) failureWords(reason string) string {
	if s.failure != nil {
		return s.failure.words
	}
	for _, c := range causes {
		if c.reason == reason {
			return c.words
		}
	}
	return causeOther.words
}

// firstFailure is the failure of the first node by name, nil if there is none.
func firstFailure(failures map[string]failure) (string, *failure) {
	if len(failures) == 0 {
		return "", nil
	}
	node := slices.Min(slices.Collect(maps.Keys(failures)))
	f := failures[node]
	return node, &f
}
