package prepull

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

// releaseReason is why a node is let go; it is a label of a metric.
type releaseReason string

const (
	// releaseWarm is of a node that has its images.
	releaseWarm releaseReason = "warm"
	// releaseEmpty is of a node that has nothing to wait for.
	releaseEmpty releaseReason = "empty"
	// releaseFailing is of a node that lacks images which fail.
	releaseFailing releaseReason = "failing"
	// releaseDeadline is of a node that took too long.
	releaseDeadline releaseReason = "deadline"
)

// release is a node that loses the taint of the gate.
type release struct {
	node string
	uid  types.UID

	// version of the node that this was decided on.
	version string

	// taints are those to take away, by their positions, whatever their effects: nobody else would.
	taints map[int]corev1.Taint

	reason releaseReason

	// late is set if its deadline has passed, whatever else is the reason.
	late bool

	// held is for how long the node was held.
	held time.Duration

	// words say what is missing, for an Event; empty if nothing is.
	words string
}

// releaseOf decides about a node that is held: nil if it stays, and then due is when time alone changes that. since is when
// the manager saw the taint first.
//
// The deadline counts from the creation of the node, which the API server dates. If the clock of the manager is behind, it
// counts from since: no clock holds a node for ever.
func releaseOf(n *corev1.Node, p progress, g Gate, since, now time.Time) (r *release, due time.Time) {
	taints := g.taintsOf(n)
	if len(taints) == 0 || n.DeletionTimestamp != nil {
		return nil, time.Time{}
	}
	due = n.CreationTimestamp.Add(g.Deadline)
	if behind := since.Add(g.Deadline); behind.Before(due) {
		due = behind
	}
	reason := map[outlook]releaseReason{outlookNothing: releaseEmpty, outlookWarm: releaseWarm, outlookStuck: releaseFailing}[p.outlook]
	late := !now.Before(due)
	if reason == "" && late {
		reason = releaseDeadline
	}
	if reason == "" {
		if !p.until.IsZero() && p.until.Before(due) {
			due = p.until
		}
		return nil, due
	}
	r = &release{node: n.Name, uid: n.UID, version: n.ResourceVersion, taints: taints, reason: reason, late: late, held: max(0, now.Sub(n.CreationTimestamp.Time))}
	switch {
	case reason == releaseDeadline && p.outlook == outlookUnknown:
		r.words = fmt.Sprintf("The deadline of %v has passed, and the node has not got all its labels.", g.Deadline)
	case reason == releaseDeadline:
		r.words = fmt.Sprintf("The deadline of %v has passed with %s. %s", g.Deadline, p.words(), missingWords(p.missing))
	case reason == releaseFailing:
		r.words = fmt.Sprintf("The node does not wait for images that fail: %s. %s", p.words(), missingWords(p.missing))
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

// planNodes decides which nodes are let go, and what their conditions say. on are the prepull pods by the class of their
// nodes.
func (p *plan) planNodes(s state, on map[string][]*corev1.Pod, o PlanOptions, now time.Time) {
	if !o.Gate.Enabled && !o.NodeCondition {
		return
	}
	served := map[string]bool{}
	for _, cp := range p.classes {
		observer := newObserver(cp, on[cp.name], o.PullDeadline, now)
		for _, n := range cp.nodes {
			served[n.Name] = true
			held := len(o.Gate.taintsOf(n)) > 0
			if n.DeletionTimestamp != nil || !held && !o.NodeCondition {
				continue
			}
			progress := observer.progress(n, held, now)
			p.planRelease(s, n, progress, o.Gate, now)
			if !o.NodeCondition {
				continue
			}
			if change := conditionChangeOf(n, progress, now); change != nil {
				p.conditions = append(p.conditions, *change)
			}
			p.atLatest(progress.until)
		}
	}
	for i := range s.nodes {
		if n := &s.nodes[i]; !served[n.Name] {
			progress := progress{outlook: outlookNothing}
			if unfinished(n) {
				progress.outlook = outlookUnknown
			}
			p.planRelease(s, n, progress, o.Gate, now)
		}
	}
	slices.SortStableFunc(p.conditions, func(a, b conditionChange) int {
		return cmp.Or(trueFirst(!a.minor, !b.minor), strings.Compare(a.node, b.node))
	})
}

// overdue is what may be done of a plan that is made without knowing all: a deadline is one whatever else is wrong, or
// seems to be right.
func (p *plan) overdue() plan {
	late := slices.Clone(p.releases)
	return plan{releases: slices.DeleteFunc(late, func(r release) bool { return !r.late })}
}

func (p *plan) planRelease(s state, n *corev1.Node, pr progress, g Gate, now time.Time) {
	since, known := s.held[n.UID]
	if !known {
		since = now
	}
	r, due := releaseOf(n, pr, g, since, now)
	if r != nil {
		p.releases = append(p.releases, *r)
	}
	p.atLatest(due)
}
