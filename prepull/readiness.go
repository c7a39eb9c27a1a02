package prepull

import (
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// troubleTime is how long a node may have trouble with an image, other than a final answer, until that counts as failing:
// on a node that starts, the network may take a moment.
const troubleTime = time.Minute

// unfinishedTaints are on nodes that have not got all their labels yet: which images they are to have is not known.
var unfinishedTaints = []string{"karpenter.sh/unregistered", "node.cloudprovider.kubernetes.io/uninitialized"}

// progress is how far a node is with the images that it must have before it is called warm.
type progress struct {
	outlook outlook

	images, present, pulling int

	// oversized is how many images it is not to wait for, because they are too large.
	oversized int

	// trouble is what holds up its list, in words; empty if nothing does. until is when that will count as failing.
	trouble string
	until   time.Time

	// missing are the images that are not there yet.
	missing []string
}

// outlook is what is to come of a node that waits for its images.
type outlook int

const (
	// outlookUnknown is of a node that is not complete.
	outlookUnknown outlook = iota
	// outlookNothing is of a node that has nothing to wait for.
	outlookNothing
	// outlookWaiting is of a node that lacks images which may come.
	outlookWaiting
	// outlookWarm is of a node that has all images.
	outlookWarm
	// outlookStuck is of a node that lacks images which fail, or are behind one that does.
	outlookStuck
)

// observer reads the progress of the nodes of a class. Those that are not waited for, such as new ones that are not Ready
// yet, may pull all the same.
type observer struct {
	*classPlan
	others *warmth
}

func newObserver(cp *classPlan, pods []*corev1.Pod, deadline time.Duration, now time.Time) observer {
	var others []*corev1.Node
	for _, n := range cp.nodes {
		if _, waits := cp.warmth.at[n.Name]; !waits {
			others = append(others, n)
		}
	}
	return observer{cp, observe(others, slices.Collect(maps.Keys(cp.verdicts)), pods, deadline, now)}
}

// progress of a node. missing is left out unless it is asked for.
func (o observer) progress(n *corev1.Node, missing bool, now time.Time) progress {
	p := progress{images: len(o.hot), oversized: o.oversized}
	if unfinished(n) {
		return p
	}
	w := o.warmth
	if _, waits := w.at[n.Name]; !waits {
		w = o.others
	}
	failing := 0
	for _, c := range o.hot {
		image := w.images[c.name]
		switch f, failed := image.failed[n.Name]; {
		case image.has(n.Name):
			p.present++
			continue
		case failed && f.counts(now):
			failing++
		case image.pulling[n.Name]:
			p.pulling++
		}
		if missing {
			p.missing = append(p.missing, c.image)
		}
	}
	stuck := o.trouble(&p, n.Name, w, now)
	switch {
	case len(o.hot) == 0:
		p.outlook = outlookNothing
	case p.present == p.images:
		p.outlook = outlookWarm
	case stuck || p.present+failing == p.images:
		p.outlook = outlookStuck
	default:
		p.outlook = outlookWaiting
	}
	return p
}

// trouble notes what holds up the list of a node, and tells whether that counts as failing.
func (o observer) trouble(p *progress, node string, w *warmth, now time.Time) bool {
	f, held := w.broken[node]
	p.trouble = "the prepull pod fails: " + f.message
	for _, e := range o.list {
		if held {
			break
		}
		f, held = w.images[e.name].failed[node]
		p.trouble = e.image + " cannot be pulled: " + f.words
	}
	if !held {
		p.trouble = ""
		return false
	}
	if f.settled && !f.counts(now) {
		p.until = f.began.Add(troubleTime)
	}
	return f.counts(now)
}

// counts tells whether a failure on one node is a reason not to wait for it.
func (f *failure) counts(now time.Time) bool {
	return f.settled && (f.final || now.Sub(f.began) >= troubleTime)
}

func unfinished(n *corev1.Node) bool {
	return slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return slices.Contains(unfinishedTaints, t.Key) })
}

// words are the numbers for people.
func (p *progress) words() string {
	words := fmt.Sprintf("%d of %d images", p.present, p.images)
	if p.images == 0 {
		words = "no images"
	}
	if p.present < p.images {
		words += fmt.Sprintf(", %d pulling", p.pulling)
	}
	if p.trouble != "" && p.present < p.images {
		words += "; " + p.trouble
	}
	if p.oversized > 0 {
		words += fmt.Sprintf("; %d too large to wait for (gate.maxBytes)", p.oversized)
	}
	return words
}

// conditionChange is a condition of a node that has to be written.
type conditionChange struct {
	node      string
	uid       types.UID
	condition corev1.NodeCondition

	// minor is set if nothing but words changes: that may wait.
	minor bool
}

// imagesReady is the condition of a node for its progress; old is the one that it has, nil if it has none.
//
// It tells whether a node has been warm once. Others act on it, some by keeping pods away: a new image, which all nodes lack
// at first, must not turn it. So what was True stays True, and says what it said until the node has all its images again.
func imagesReady(p progress, ready bool, old *corev1.NodeCondition, now time.Time) corev1.NodeCondition {
	next := corev1.NodeCondition{Type: v1alpha1.ConditionImagesReady, Status: corev1.ConditionFalse}
	switch {
	case p.outlook == outlookWarm:
		next.Status, next.Reason, next.Message = corev1.ConditionTrue, "ImagesPresent", p.words()
	case old != nil && old.Status == corev1.ConditionTrue:
		return *old
	case p.outlook == outlookUnknown:
		next.Status, next.Reason, next.Message = corev1.ConditionUnknown, "NodeUnfinished", "The node has not got all its labels yet."
	case p.outlook == outlookNothing:
		next.Status, next.Reason, next.Message = corev1.ConditionTrue, "NothingToPull", p.words()
	case p.outlook == outlookStuck:
		next.Status, next.Reason, next.Message = corev1.ConditionTrue, "SomeFailed", p.words()
	case p.present+p.pulling > 0:
		next.Reason, next.Message = statePulling, p.words()
	case !ready:
		next.Status, next.Reason, next.Message = corev1.ConditionUnknown, "NodeNotReady", p.words()
	default:
		next.Reason, next.Message = statePending, p.words()
	}
	next.LastTransitionTime = metav1.NewTime(now.Truncate(time.Second))
	if old != nil && old.Status == next.Status {
		next.LastTransitionTime = old.LastTransitionTime
	}
	return next
}

// conditionOf is a node's condition of our own, nil if it has none.
func conditionOf(n *corev1.Node) *corev1.NodeCondition {
	for i := range n.Status.Conditions {
		if n.Status.Conditions[i].Type == v1alpha1.ConditionImagesReady {
			return &n.Status.Conditions[i]
		}
	}
	return nil
}

// conditionChangeOf is what has to be written to a node, nil if nothing has.
func conditionChangeOf(n *corev1.Node, p progress, now time.Time) *conditionChange {
	old := conditionOf(n)
	next := imagesReady(p, hasCondition(n, corev1.NodeReady), old, now)
	turns := old == nil || old.Status != next.Status || old.Reason != next.Reason
	if !turns && old.Message == next.Message {
		return nil
	}
	return &conditionChange{node: n.Name, uid: n.UID, condition: next, minor: !turns}
}
