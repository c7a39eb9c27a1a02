package measure

import (
	"fmt"
	"math"
	"strings"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/cli"
)

// stripWidth is how many characters the longest start-up is drawn with.
const stripWidth = 40

// strip draws a start-up: what is not the pull lightly, the pull full.
func (s *Start) strip(longest float64) string {
	chars := func(seconds float64) int { return int(math.Round(stripWidth * part(seconds, longest))) }
	before, pulled, end := chars(s.SandboxSeconds), chars(s.SandboxSeconds+s.PulledSeconds), chars(s.StartUpSeconds)
	return strings.Repeat("░", before) + strings.Repeat("█", pulled-before) + strings.Repeat("░", max(0, end-pulled))
}

// short is a span for people, with hundredths where those tell something.
func short(seconds float64) string {
	if seconds < 0.995 {
		return fmt.Sprintf("%.2f s", seconds)
	}
	return cli.Seconds(seconds)
}

// sizeWords is the size of an image, in brackets, or nothing.
func sizeWords(bytes int64) string {
	if bytes == 0 {
		return ""
	}
	return " (" + v1alpha1.HumanSize(bytes) + ")"
}

func percent(share float64) string {
	return fmt.Sprintf("%.0f %%", 100*share)
}

// summary is what an experiment says in a sentence or two; empty without a ratio.
func (x *Experiment) summary() string {
	if x.Ratio == 0 {
		return ""
	}
	return fmt.Sprintf("With the image on the node the start-up takes %s, without it %s: %.1f times as long. %s of that is the pull.",
		short(x.WarmSeconds), short(x.ColdSeconds), x.Ratio, percent(x.pullShare()))
}

// verdict is what a history says in one paragraph.
func (h *History) verdict() string {
	words := []string{fmt.Sprintf("Of %s, %d found every image on the node and %d waited, %s together.",
		counted(h.Starts, "start", "starts"), h.Hits, h.Misses, short(h.PulledSeconds))}
	if h.PullShare != nil && h.Misses > 0 {
		words = append(words, fmt.Sprintf("That is %s of the time in which these pods started.", percent(*h.PullShare)))
	}
	if h.Unknown > 0 {
		words = append(words, fmt.Sprintf("Of %d it is not known any more: events are kept for an hour.", h.Unknown))
	}
	return strings.TrimSpace(strings.Join(append(words, h.pending()), " "))
}

// pending says how many pods have not started; nothing if all have.
func (h *History) pending() string {
	if h.NotStarted == 0 {
		return ""
	}
	return counted(h.NotStarted, "pod has", "pods have") + " not started yet."
}

func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
