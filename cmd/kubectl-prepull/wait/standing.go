package wait

import (
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/cli"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/inventory"
	"github.com/kube-prepull/kube-prepull/prepull/plan"
	"github.com/kube-prepull/kube-prepull/prepull/warmth"
)

// outcome is what has become of waiting for an image.
type outcome string

const (
	open    outcome = ""        // it may come
	met     outcome = "met"     // it is on as many nodes as it must be
	leftOut outcome = "leftOut" // nobody pulls it on purpose
	refused outcome = "refused" // it does not come
)

// standing is how an image stands.
type standing struct {
	image   string
	outcome outcome

	// counts are of the nodes that are to have it, and need is how many of them must.
	counts counts
	need   int

	// words say what is going on, or why it is left out or refused.
	words string
}

// counts are of the nodes that are to have an image: those that have it, and those that failed to pull it.
type counts struct {
	desired, ready, failed int
}

// purposes are the reasons for which an image has no place on purpose: the configuration says so, or no pod runs it.
var purposes = []string{plan.SkippedExcluded, plan.SkippedTooSmall, plan.SkippedReplaced}

// partly is the reason of an image that some nodes have no room for.
const partly = "PartlyOverBudget"

// An image that is new may seem to lack room, by what its size is taken for. sizeTime is how long the manager has to ask a registry
// for the size, and planTime how long it has then to choose again.
const (
	sizeTime = 30 * time.Second
	planTime = 5 * time.Second
)

// standingOf judges an image by the object that tells of it, which is nil as long as there is none. The nodes that count are those
// of the object, unless others are given. Its size was first seen at sized.
func standingOf(image string, o *v1alpha1.PrepullImage, g goal, others *selected, sized, now time.Time) standing {
	s := standing{image: image, need: g.need(0), words: "it is declared"}
	if o == nil {
		return s
	}
	i := inventory.ImageOf(o)
	s.counts = counts{int(i.Nodes.Desired), int(i.Nodes.Ready), int(i.Nodes.Failed)}
	if others != nil {
		s.counts = others.counts
	}
	s.need = g.need(s.counts.desired)
	known := meta.FindStatusCondition(o.Status.Conditions, v1alpha1.ConditionReady) != nil
	room := meta.FindStatusCondition(o.Status.Conditions, v1alpha1.ConditionSelected)
	lacksRoom := room != nil && room.Reason == partly
	switch {
	case !known:
		s.words = i.Message
	case i.State == inventory.ImageSkipped && slices.Contains(purposes, i.Reason):
		s.outcome, s.words = leftOut, i.Message
	case (lacksRoom || i.Reason == plan.SkippedOverBudget) && guessed(i.Bytes(), sized.Sub(o.CreationTimestamp.Time), now.Sub(o.CreationTimestamp.Time)):
		s.words = room.Reason + ": " + room.Message
	case i.State == inventory.ImageSkipped:
		s.outcome, s.words = refused, i.Reason+": "+i.Message
	case others != nil && others.unfit != "":
		s.outcome, s.words = refused, others.unfit
	case lacksRoom && others == nil && g.percent > 0:
		s.outcome, s.words = refused, room.Reason+": "+room.Message
	case s.counts.desired > 0 && s.counts.ready >= s.need:
		s.outcome, s.words = met, "ready"
	case lacksRoom && i.State == inventory.ImageReady:
		s.outcome, s.words = refused, room.Reason+": "+room.Message
	case s.counts.desired > 0 && s.need > s.counts.desired:
		s.outcome, s.words = refused, fmt.Sprintf("%s to have it, and --for asks for %d", nodes(s.counts.desired, "is", "are"), s.need)
	case i.State == inventory.ImageFailing:
		s.words = failureWords(&i, now)
		if permanent(i.Reason) && s.counts.reachable() < s.need {
			s.outcome = refused
		}
	default:
		s.words = progressWords(&i)
	}
	return s
}

// guessed tells whether an image may have been chosen or left out by a guess at its size: if it is new, and its size, 0 if nobody
// knows it, was first seen when it was so old.
func guessed(size int64, sized, age time.Duration) bool {
	if size == 0 {
		return age < sizeTime
	}
	return sized < sizeTime && age-sized < planTime
}

// reachable is how many nodes may have the image after all. Where none is at it that fails, all that lack it wait for the same.
func (c counts) reachable() int {
	if c.failed == 0 {
		return c.ready
	}
	return c.desired - c.failed
}

// permanent tells whether trying again soon gives nothing.
func permanent(reason string) bool {
	return slices.ContainsFunc(warmth.Causes, func(c warmth.Cause) bool { return c.Reason == reason && c.Permanent })
}

// failureWords are the registry's.
func failureWords(i *inventory.Image, now time.Time) string {
	words := i.Reason + ": " + i.Message
	if i.RetryTime != nil {
		words += "; " + cli.NextTry(*i.RetryTime, now)
	}
	return words
}

// progressWords say what the manager is about.
func progressWords(i *inventory.Image) string {
	if i.Reason == string(i.State) || i.Reason == "" {
		return string(i.State)
	}
	return i.Reason + ": " + i.Message
}

// nodes is a number of nodes with its verb.
func nodes(n int, one, many string) string {
	if n == 1 {
		return "1 node " + one
	}
	return fmt.Sprintf("%d nodes %s", n, many)
}

// of counts standings with one of some outcomes.
func of(all []standing, outcomes ...outcome) int {
	n := 0
	for _, s := range all {
		if slices.Contains(outcomes, s.outcome) {
			n++
		}
	}
	return n
}
