package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/warmth"
)

// Observed is the part of a PrepullImage's status that the reconciler writes; the learner and the resync write the
// rest. As a JSON merge patch it sets every field, also to nothing.
type Observed struct {
	Conditions      []metav1.Condition  `json:"conditions"`
	State           string              `json:"state"`
	SizeBytes       int64               `json:"sizeBytes"`
	Size            string              `json:"size"`
	Nodes           v1alpha1.NodeCounts `json:"nodes"`
	Ready           string              `json:"ready"`
	LastPullSeconds int64               `json:"lastPullSeconds"`
	Retries         []v1alpha1.Retry    `json:"retries"`
	FirstReadyTime  *metav1.Time        `json:"firstReadyTime"`
}

func observedOf(s v1alpha1.PrepullImageStatus) Observed {
	return Observed{s.Conditions, s.State, s.SizeBytes, s.Size, s.Nodes, s.Ready, s.LastPullSeconds, s.Retries, s.FirstReadyTime}
}

// StatusChange is a status that has to be written.
type StatusChange struct {
	Name   string
	Status Observed

	// From is the resource version of the object that the status is compared with.
	From string

	// Progress is set if nothing but numbers changes: that may wait.
	Progress bool

	// Warmed is how long it took from when the image was known until every node had it, if that is so for the first time;
	// otherwise 0.
	Warmed time.Duration

	// Notices are the Events that the change is worth.
	Notices []Notice
}

// The words of a state, before the reason where there is one.
const (
	StateReady   = "Ready"
	StatePulling = "Pulling"
	StatePending = "Pending"
	StateFailed  = "PullFailed"
	StateSkipped = "Skipped"
)

// statusChanges are the statuses that differ from the stored ones, by the name of the object.
func statusChanges(images []v1alpha1.PrepullImage, found []*Candidate, invalid map[string]string, p *Plan, now time.Time) []StatusChange {
	var changes []StatusChange
	report := func(o *v1alpha1.PrepullImage, sum summary) {
		next := sum.status(o, now)
		if old := observedOf(o.Status); !old.equal(next) {
			changes = append(changes, StatusChange{
				Name: o.Name, Status: next, From: o.ResourceVersion, Progress: onlyProgress(old, next),
				Warmed: warmedIn(o, next), Notices: noticesOf(o, old, next, now),
			})
		}
	}
	for i := range images {
		if words, found := invalid[images[i].Name]; found {
			report(&images[i], summary{skipped: skip{reason: skippedInvalid, why: words}})
		}
	}
	for _, c := range found {
		sum := summarize(cmp.Or(p.spelled[c], c), p)
		for _, o := range c.objects {
			report(o, sum)
		}
	}
	slices.SortFunc(changes, func(a, b StatusChange) int { return strings.Compare(a.Name, b.Name) })
	return changes
}

func (s Observed) equal(other Observed) bool {
	return s.State == other.State && s.SizeBytes == other.SizeBytes && s.Size == other.Size && s.Nodes == other.Nodes &&
		s.Ready == other.Ready && s.LastPullSeconds == other.LastPullSeconds &&
		slices.EqualFunc(s.Conditions, other.Conditions, func(a, b metav1.Condition) bool {
			same := a.LastTransitionTime.Equal(&b.LastTransitionTime)
			a.LastTransitionTime, b.LastTransitionTime = metav1.Time{}, metav1.Time{}
			return same && a == b
		}) &&
		equalRetries(s.Retries, other.Retries) && s.FirstReadyTime.Equal(other.FirstReadyTime)
}

// warmedIn is how long an object waited until it was ready for the first time, which is now; otherwise 0.
func warmedIn(o *v1alpha1.PrepullImage, next Observed) time.Duration {
	if o.Status.FirstReadyTime != nil || next.FirstReadyTime == nil {
		return 0
	}
	known := o.CreationTimestamp
	if o.Status.FirstSeenTime != nil && o.Managed() {
		known = *o.Status.FirstSeenTime
	}
	return max(next.FirstReadyTime.Sub(known.Time), time.Nanosecond)
}

func equalRetries(a, b []v1alpha1.Retry) bool {
	return slices.EqualFunc(a, b, func(a, b v1alpha1.Retry) bool {
		return a.NodeClass == b.NodeClass && a.Failures == b.Failures && a.Time.Equal(&b.Time) && a.Reason == b.Reason
	})
}

// onlyProgress tells whether two statuses differ in numbers and texts alone.
func onlyProgress(old, next Observed) bool {
	return old.State == next.State && equalRetries(old.Retries, next.Retries) &&
		slices.EqualFunc(old.Conditions, next.Conditions, func(a, b metav1.Condition) bool {
			return a.Type == b.Type && a.Status == b.Status && a.Reason == b.Reason
		})
}

// status is the status of an object for a summary of its image. What does not change keeps its words and times.
func (s summary) status(o *v1alpha1.PrepullImage, now time.Time) Observed {
	old := &o.Status
	next := Observed{
		Conditions:      slices.Clone(old.Conditions),
		SizeBytes:       s.size,
		Nodes:           v1alpha1.NodeCounts{Desired: s.desired, Ready: s.ready, Failed: s.failed},
		LastPullSeconds: int64(s.slowest.Seconds()),
		Retries:         s.retries,
		FirstReadyTime:  old.FirstReadyTime,
	}
	if next.SizeBytes == 0 {
		next.SizeBytes = old.SizeBytes
	}
	// Once the image was everywhere, a roll goes over nodes that have it, and how long their containers take to start says nothing
	// about the pull.
	if next.LastPullSeconds = max(next.LastPullSeconds, old.LastPullSeconds); old.FirstReadyTime != nil {
		next.LastPullSeconds = old.LastPullSeconds
	}
	next.Size = v1alpha1.HumanSize(cmp.Or(next.SizeBytes, old.DownloadBytes))
	if s.skipped.reason == "" {
		next.Ready = fmt.Sprintf("%d/%d", s.ready, s.desired)
	}
	failed := s.pullFailed(meta.FindStatusCondition(old.Conditions, v1alpha1.ConditionPullFailed))
	state, ready := s.readiness(failed.Status == metav1.ConditionTrue)
	next.State = state
	if state == StateReady && next.FirstReadyTime == nil {
		next.FirstReadyTime = &metav1.Time{Time: now.Truncate(time.Second)}
	}
	if state == StateFailed {
		next.State += ": " + s.failureWords(failed.Reason)
	} else if state == StateSkipped {
		next.State += ": " + s.skipped.reason
	}
	for _, c := range []metav1.Condition{s.selected(meta.FindStatusCondition(old.Conditions, v1alpha1.ConditionSelected)), ready, failed} {
		c.ObservedGeneration = o.Generation
		c.LastTransitionTime = metav1.NewTime(now.Truncate(time.Second))
		meta.SetStatusCondition(&next.Conditions, c)
	}
	return next
}

func (s summary) selected(old *metav1.Condition) metav1.Condition {
	c := metav1.Condition{Type: v1alpha1.ConditionSelected, Status: metav1.ConditionTrue, Reason: "WithinBudget", Message: "The image has a place on the nodes."}
	switch {
	case s.skipped.reason != "":
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, s.skipped.reason, s.skipped.why+s.skipped.detail
		// The detail changes all the time. What is told is how it was when the image lost its place.
		if s.skipped.detail != "" && old != nil && old.Reason == c.Reason && strings.HasPrefix(old.Message, s.skipped.why) {
			c.Message = old.Message
		}
	case s.over.reason != "":
		c.Reason = "PartlyOverBudget"
		c.Message = fmt.Sprintf("The image has a place on the nodes of some classes, and %d of %d leave it out: %s.", s.overClasses, s.usingClasses, strings.TrimSuffix(s.over.why, "."))
	case s.withheld != "":
		c.Reason = "SecretPartlyWithheld"
		c.Message = "The image has a place on the nodes of some classes only. " + s.withheld
	case s.widely != "":
		c.Reason, c.Message = "PlacedWidely", s.widely
	}
	return c
}

// pullFailed keeps the words of the first failure of a kind: others differ in request numbers and ports.
func (s summary) pullFailed(old *metav1.Condition) metav1.Condition {
	c := metav1.Condition{Type: v1alpha1.ConditionPullFailed, Status: metav1.ConditionFalse, Reason: "NoFailure", Message: "No node has trouble with the image."}
	known := old != nil && old.Status == metav1.ConditionTrue
	switch {
	case s.failure != nil:
		c.Status, c.Reason = metav1.ConditionTrue, s.failure.Reason
		c.Message = fmt.Sprintf("Node %s: %s", s.failureNode, s.failure.Message)
		if known && old.Reason == c.Reason {
			c.Message = old.Message
		}
	case len(s.retries) > 0 && known:
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, old.Reason, old.Message
	case len(s.retries) > 0:
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, warmth.CauseOther.Reason, "The image could not be pulled; it is tried again later."
	}
	if c.Reason == warmth.CauseDenied.Reason {
		c.Message = withAdvice(c.Message, s.advice)
	}
	return c
}

// readiness is the word for the state, and the condition Ready.
func (s summary) readiness(failed bool) (string, metav1.Condition) {
	c := metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse}
	switch {
	case s.skipped.reason != "":
		c.Reason, c.Message = StateSkipped, "The image has no place on the nodes; see the condition Selected."
	case failed:
		c.Reason, c.Message = StateFailed, "The image cannot be pulled; see the condition PullFailed."
	case s.desired > 0 && s.ready == s.desired:
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, "OnEveryNode", "Every node that wants the image has it."
		return StateReady, c
	case s.refused.reason != "":
		c.Reason, c.Message = s.refused.reason, s.refused.message
		return StatePending, c
	case s.broken != nil:
		c.Reason, c.Message = "PrepullPodFails", fmt.Sprintf("The prepull pod of node %s does not get to its images: %s", s.brokenNode, s.broken.Message)
		return StatePending, c
	case s.pulling:
		c.Reason, c.Message = StatePulling, "A node is pulling the image."
	default:
		c.Reason, c.Message = StatePending, "The image waits for its turn."
	}
	return c.Reason, c
}
