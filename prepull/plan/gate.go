package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// maxMissing is how many images an Event names.
const maxMissing = 5

// ReleaseReason is why a node is untainted; it is a label of a metric.
type ReleaseReason string

const (
	// ReleaseWarm is of a node that has its images.
	ReleaseWarm ReleaseReason = "warm"
	// ReleaseEmpty is of a node that has nothing to wait for.
	ReleaseEmpty ReleaseReason = "empty"
	// ReleaseFailing is of a node that lacks images which fail.
	ReleaseFailing ReleaseReason = "failing"
	// ReleaseDeadline is of a node that took too long.
	ReleaseDeadline ReleaseReason = "deadline"
)

// Release is a node that loses the taint of the gate.
type Release struct {
	Node string
	UID  types.UID

	// Version of the node that this was decided on.
	Version string

	// Taints are those to take away, by their positions, whatever their effects: nobody else would.
	Taints map[int]corev1.Taint

	Reason ReleaseReason

	// Late is set if its deadline has passed, whatever else is the reason.
	Late bool

	// Held is for how long the node was held.
	Held time.Duration

	// Words say what is missing, for an Event; empty if nothing is.
	Words string
}

// releaseOf decides about a node that is held: nil if it stays, and then due is when time alone changes that. since is when
// the manager saw the taint first.
//
// The deadline counts from the creation of the node, which the API server dates. If the clock of the manager is behind, it
// counts from since: no clock holds a node for ever.
func releaseOf(n *corev1.Node, p progress, g Gate, since, now time.Time) (r *Release, due time.Time) {
	taints := g.TaintsOf(n)
	if len(taints) == 0 || n.DeletionTimestamp != nil {
		return nil, time.Time{}
	}
	due = n.CreationTimestamp.Add(g.Deadline)
	if behind := since.Add(g.Deadline); behind.Before(due) {
		due = behind
	}
	reason := map[outlook]ReleaseReason{outlookNothing: ReleaseEmpty, outlookWarm: ReleaseWarm, outlookStuck: ReleaseFailing}[p.outlook]
	late := !now.Before(due)
	if reason == "" && late {
		reason = ReleaseDeadline
	}
	if reason == "" {
		if !p.until.IsZero() && p.until.Before(due) {
			due = p.until
		}
		return nil, due
	}
	r = &Release{Node: n.Name, UID: n.UID, Version: n.ResourceVersion, Taints: taints, Reason: reason, Late: late, Held: max(0, now.Sub(n.CreationTimestamp.Time))}
	switch {
	case reason == ReleaseDeadline && p.outlook == outlookUnknown:
		r.Words = fmt.Sprintf("The deadline of %v has passed, and the node has not got all its labels.", g.Deadline)
	case reason == ReleaseDeadline:
		r.Words = fmt.Sprintf("The deadline of %v has passed with %s. %s", g.Deadline, p.words(), missingWords(p.missing))
	case reason == ReleaseFailing:
		r.Words = fmt.Sprintf("The node does not wait for images that fail: %s. %s", p.words(), missingWords(p.missing))
	}
	return r, time.Time{}
}

func missingWords(images []string) string {
	more := ""
	if n := len(images) - maxMissing; n > 0 {
		images, more = images[:maxMissing], fmt.Sprintf(" and %d more", n)
	}
	return "Missing: " + strings.Join(images, ", ") + more + "."
}

// planNodes decides which nodes are untainted, and what their conditions say. on are the prepull pods by the class of their
// nodes.
func (p *Plan) planNodes(s State, on map[string][]*corev1.Pod, o Options, now time.Time) {
	if !o.Gate.Enabled && !o.NodeCondition {
		return
	}
	served := map[string]bool{}
	for _, cp := range p.Classes {
		observer := newObserver(cp, on[cp.Name], o, now)
		for _, n := range cp.Nodes {
			served[n.Name] = true
			held := len(o.Gate.TaintsOf(n)) > 0
			if n.DeletionTimestamp != nil || !held && !o.NodeCondition {
				continue
			}
			progress := observer.progress(n, held, now)
			p.planRelease(s, n, progress, o.Gate, now)
			if !o.NodeCondition {
				continue
			}
			if change := conditionChangeOf(n, progress, now); change != nil {
				p.Conditions = append(p.Conditions, *change)
			}
			p.lookAgainBy(progress.until)
		}
	}
	for i := range s.Nodes {
		if n := &s.Nodes[i]; !served[n.Name] {
			progress := progress{outlook: outlookNothing}
			if unfinished(n) {
				progress.outlook = outlookUnknown
			}
			p.planRelease(s, n, progress, o.Gate, now)
			// A virtual one was waited for once.
			if !o.NodeCondition || ConditionOf(n) == nil {
				continue
			}
			if change := conditionChangeOf(n, progress, now); change != nil {
				p.Conditions = append(p.Conditions, *change)
			}
		}
	}
	slices.SortStableFunc(p.Conditions, func(a, b ConditionChange) int {
		return cmp.Or(trueFirst(!a.Minor, !b.Minor), strings.Compare(a.Node, b.Node))
	})
}

// Overdue is what may be done of a plan that is made without knowing all: a deadline is one whatever else is wrong, or
// seems to be right.
func (p *Plan) Overdue() Plan {
	late := slices.Clone(p.Releases)
	return Plan{Releases: slices.DeleteFunc(late, func(r Release) bool { return !r.Late })}
}

func (p *Plan) planRelease(s State, n *corev1.Node, pr progress, g Gate, now time.Time) {
	since, known := s.Held[n.UID]
	if !known {
		since = now
	}
	r, due := releaseOf(n, pr, g, since, now)
	if r != nil {
		p.Releases = append(p.Releases, *r)
	}
	p.lookAgainBy(due)
}
