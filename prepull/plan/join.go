package plan

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-prepull/kube-prepull/prepull/warmth"
)

// joinTime is how long a node counts as one that joins.
const joinTime = 10 * time.Minute

// Joining is a node that joined lately and lacks images still that a node must have. Its pod is not ready, so the DaemonSet
// controller replaces it at once by every new list, whatever maxSurge says (rollingUpdate in
// pkg/controller/daemon/update.go), and the pull under way starts anew. In a storm of new images it would never end.
type Joining struct {
	// Images is how many of the list it has.
	Images int

	// Interrupted is set if it pulls one that stays, and the plan has a new list for it.
	Interrupted bool
}

// joining are the nodes of a class that join, nil if none does. rolls are the DaemonSets that get a new list.
func (cp *ClassPlan) joining(rolls map[string]bool, now time.Time) map[string]Joining {
	var joining map[string]Joining
	for i, n := range cp.Pullable {
		if cp.Warmth.Settled(i) || now.Sub(n.CreationTimestamp.Time) >= joinTime {
			continue
		}
		lacks := false
		for _, image := range cp.hot {
			lacks = lacks || !image.Warmth.There(i)
		}
		if !lacks {
			continue
		}
		node := Joining{Interrupted: slices.ContainsFunc(cp.lanes, func(l *lane) bool { return rolls[l.name] && cp.pulls(l, n) })}
		for _, image := range cp.Images {
			if image.listed && image.Warmth.There(i) {
				node.Images++
			}
		}
		warmth.Put(&joining, n.Name, node)
	}
	return joining
}

// pulls tells whether the prepull pod of a lane on a node is at an image, and not held up by one.
func (cp *ClassPlan) pulls(l *lane, n *corev1.Node) bool {
	pulls := false
	for _, image := range cp.Images {
		if image.lane != l.number {
			continue
		}
		if f, failed := image.Warmth.Failed[n.Name]; failed && !f.Alone {
			return false
		}
		pulls = pulls || image.Warmth.Pulling[n.Name]
	}
	return pulls
}

// joins remembers how far nodes that join are. A new list costs such a node the least right after a pull.
type joins map[string]*join

type join struct {
	Joining

	// begun is when its pull under way began, as far as can be told: when the one before had ended, or when it got its list.
	begun time.Time
	ended bool

	// gap is how long the next list waits unless a pull ends.
	gap time.Duration
}

// see notes how far each node is. gap is how long the first list waits.
func (j *joins) see(joining map[string]Joining, gap time.Duration, now time.Time) {
	for node := range *j {
		if _, still := joining[node]; !still {
			delete(*j, node)
		}
	}
	for node, is := range joining {
		if *j == nil {
			*j = joins{}
		}
		was := (*j)[node]
		if was == nil {
			was = &join{Joining: is, begun: now, gap: gap}
			(*j)[node] = was
		}
		if is.Images > was.Images {
			was.begun, was.ended = now, true
		}
		was.Joining = is
	}
}

// due is when the nodes that would get a new list may get it: all within a moment after a pull has ended, or after their gaps,
// which begin when the list was first to be written at the latest: many nodes end their pulls at different times. first is when
// that was.
func (j joins) due(first time.Time, moment time.Duration, now time.Time) time.Time {
	var due time.Time
	for _, node := range j {
		if !node.Interrupted || node.between(moment, now) {
			continue
		}
		begun := node.begun
		if begun.After(first) {
			begun = first
		}
		due = latest(due, begun.Add(node.gap))
	}
	return due
}

// between tells whether a pull ended within a moment.
func (n *join) between(moment time.Duration, now time.Time) bool {
	return n.ended && now.Sub(n.begun) < moment
}

// written notes that the plan was carried out. A node that lost a pull has twice as long with the next list, maxGap at most.
func (j joins) written(moment, maxGap time.Duration, now time.Time) {
	for _, node := range j {
		if !node.Interrupted {
			continue
		}
		if !node.between(moment, now) {
			node.gap = min(2*node.gap, maxGap)
		}
		node.begun, node.ended = now, false
	}
}
