package plan

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/nodeclass"
)

// ConditionChange is a condition of a node that has to be written.
type ConditionChange struct {
	Node      string
	UID       types.UID
	Version   string // of the node that this was decided on
	Condition corev1.NodeCondition

	// Minor is set if nothing but words changes: that may wait.
	Minor bool
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
	case p.outlook == outlookStuck && p.present == 0:
		next.Reason, next.Message = "AllFailed", p.words()
	case p.outlook == outlookStuck:
		next.Status, next.Reason, next.Message = corev1.ConditionTrue, "SomeFailed", p.words()
	case p.present+p.pulling > 0:
		next.Reason, next.Message = StatePulling, p.words()
	case !ready:
		next.Status, next.Reason, next.Message = corev1.ConditionUnknown, "NodeNotReady", p.words()
	default:
		next.Reason, next.Message = StatePending, p.words()
	}
	next.LastTransitionTime = metav1.NewTime(now.Truncate(time.Second))
	if old != nil && old.Status == next.Status {
		next.LastTransitionTime = old.LastTransitionTime
	}
	return next
}

// ConditionOf is a node's condition of our own, nil if it has none.
func ConditionOf(n *corev1.Node) *corev1.NodeCondition {
	for i := range n.Status.Conditions {
		if n.Status.Conditions[i].Type == v1alpha1.ConditionImagesReady {
			return &n.Status.Conditions[i]
		}
	}
	return nil
}

// conditionChangeOf is what has to be written to a node, nil if nothing has.
func conditionChangeOf(n *corev1.Node, p progress, now time.Time) *ConditionChange {
	old := ConditionOf(n)
	next := imagesReady(p, nodeclass.HasCondition(n, corev1.NodeReady), old, now)
	turns := old == nil || old.Status != next.Status || old.Reason != next.Reason
	if !turns && old.Message == next.Message {
		return nil
	}
	return &ConditionChange{Node: n.Name, UID: n.UID, Version: n.ResourceVersion, Condition: next, Minor: !turns}
}
