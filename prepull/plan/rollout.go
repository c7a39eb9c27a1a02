package plan

import (
	"reflect"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/utils/ptr"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/warmth"
)

// rollState is how far the pods of a stored DaemonSet are with its list.
type rollState int

const (
	// settled: every pod has the list, and no node has two pods.
	settled rollState = iota
	// rolling: the DaemonSet controller replaces pods that have not got the list.
	rolling
	// onDelete: pods that run are left alone, and all have the list.
	onDelete
	// stopped: pods that run are left alone, and some have not got the list: the DaemonSet controller made them while it was
	// behind. Only a roll gives them the list.
	stopped
)

// listChange is what differs between the stored DaemonSet of a class and the desired one. A greater one includes the others.
type listChange int

const (
	// changedNothing of the list, or of where it is pulled.
	changedNothing listChange = iota
	// changedForm: this manager writes the same down in another way than the one that wrote the DaemonSet.
	changedForm
	// changedDigests: where a tag points is known now. It is written down, so that another digest is seen when the tag moves.
	changedDigests
	// changedDivision: other images of the same list are held.
	changedDivision
	// changedNodes: other nodes are selected, or other pull secrets are used.
	changedNodes
	// changedList: the pods are to do something else, or a tag has moved.
	changedList
)

// rollAction is what is done about a change.
type rollAction int

const (
	// roll writes the DaemonSet and has the controller replace the pods that have not got the list.
	roll rollAction = iota
	// updateInPlace writes the DaemonSet and leaves the pods alone that run.
	updateInPlace
	// rollAsItIs writes no digests down, and nothing in another form: during a roll that would restart the pods that are done with it.
	rollAsItIs
)

// rollPolicy is what is done about a change in each state. What somebody else changed counts as a change of nothing.
var rollPolicy = map[rollState]map[listChange]rollAction{
	settled: {
		changedNothing: roll, changedForm: updateInPlace, changedDigests: updateInPlace,
		changedDivision: updateInPlace, changedNodes: updateInPlace, changedList: roll,
	},
	rolling: {
		changedNothing: roll, changedForm: rollAsItIs, changedDigests: rollAsItIs,
		changedDivision: rollAsItIs, changedNodes: roll, changedList: roll,
	},
	onDelete: {
		changedNothing: updateInPlace, changedForm: updateInPlace, changedDigests: updateInPlace,
		changedDivision: updateInPlace, changedNodes: updateInPlace, changedList: roll,
	},
	stopped: {
		changedNothing: roll, changedForm: rollAsItIs, changedDigests: rollAsItIs,
		changedDivision: rollAsItIs, changedNodes: roll, changedList: roll,
	},
}

// rolls tells whether pods are being replaced, or have to be.
func (s rollState) rolls() bool { return s == rolling || s == stopped }

// rollout is what there is to decide about the DaemonSet of a lane of a class.
type rollout struct {
	*ClassPlan
	*lane

	// accepted is the form in which the API server took the last one (Accepted of State).
	accepted string

	// concurrent is how many nodes may take a new list at the same time.
	concurrent int
}

// replacesPods tells whether pods are being replaced, or will be.
func (r *rollout) replacesPods() bool {
	return r.stored != nil && (r.change == changedList || r.state.rolls())
}

// planDaemonSet compares the DaemonSet of a lane with the stored one, if there is one. others is set if any is stored.
func (p *Plan) planDaemonSet(r *rollout, others bool, o Options) {
	ds, stored, change, state := r.desired, r.stored, r.change, r.state
	if stored == nil {
		sign(ds)
		if others || r.emptyStart {
			// Nodes of a new shape do not wait, since no pod is restarted; the first image of all may have a second one.
			p.UpdateInPlace = append(p.UpdateInPlace, ds)
			return
		}
		p.Roll = append(p.Roll, ds)
		r.Reasons.add(r.why)
		return
	}
	if change == changedDivision && !o.ImageVolumes {
		change = changedList // whoever switches them off means the pods that run, too
	}
	if change != changedList {
		keepList(ds, stored)
	}
	if change == changedNothing && !sameForm(stored, ds) {
		change = changedForm
	}
	action := rollPolicy[state][change]
	surge := r.surge(change, o.MaxConcurrentNodes)
	ds.Spec.UpdateStrategy.RollingUpdate.MaxSurge = &surge
	switch action {
	case rollAsItIs:
		keepUnknown(ds, ListOf(stored))
	case updateInPlace:
		keepPods(ds)
	}
	sign(ds)
	if action == rollAsItIs && change != changedDivision {
		keepForm(ds, stored, r.accepted)
	}
	if upToDate(stored, ds, r.accepted) {
		return
	}
	if action == updateInPlace {
		p.UpdateInPlace = append(p.UpdateInPlace, ds)
		return
	}
	if rolling := stored.Spec.UpdateStrategy.RollingUpdate; change <= changedForm && rolling != nil && !ptr.Equal(rolling.MaxSurge, &surge) {
		p.UpdateInPlace = append(p.UpdateInPlace, ds) // no pod gets another list
		return
	}
	p.Roll = append(p.Roll, ds)
	if change != changedList {
		// Pods are only restarted because a roll does not end: that becomes rarer each time, as with images that fail.
		r.Reasons.add(reasons{failing: true})
		return
	}
	r.Reasons.add(r.why)
	if (state == settled || state == onDelete) && !sameNodes(stored, ds) {
		// The new list may have to wait, but no node should have two lists meanwhile.
		p.UpdateInPlace = append(p.UpdateInPlace, withNodesOf(stored, ds))
	}
}

// rollStateOf a stored DaemonSet with its pods. Where image volumes are switched off, pods that have some have to go.
func rollStateOf(ds *appsv1.DaemonSet, pods []*corev1.Pod, imageVolumes bool) rollState {
	nodes := map[string]bool{}
	lacking, doubled := false, false
	for _, pod := range pods {
		if pod.DeletionTimestamp != nil {
			continue
		}
		lacking = lacking || pod.Labels[v1alpha1.LabelList] != ds.Labels[v1alpha1.LabelList] || !imageVolumes && len(warmth.HeldBy(pod)) > 0
		// Pods that wait for the scheduler have no node yet.
		if node := pod.Spec.NodeName; node != "" {
			doubled = doubled || nodes[node]
			nodes[node] = true
		}
	}
	left := ds.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType
	switch {
	case left && lacking:
		return stopped
	case left:
		return onDelete
	case lacking || doubled:
		return rolling
	}
	return settled
}

// listChangeOf is what differs between a stored DaemonSet, nil if there is none, and the desired one of the same class.
func listChangeOf(stored, desired *appsv1.DaemonSet) listChange {
	if stored == nil {
		return changedList
	}
	was, is := ListOf(stored), ListOf(desired)
	switch {
	case !samePods(stored, desired) || moves(was, is) || reordered(was, is):
		return changedList
	case !sameNodes(stored, desired):
		return changedNodes
	case differ(was, is, func(l Listed) bool { return l.Held }):
		return changedDivision
	case differ(was, is, func(l Listed) string { return l.digest }):
		return changedDigests
	}
	return changedNothing
}

// differ tells whether an image that is in two lists differs in something.
func differ[V comparable](was, is []Listed, something func(Listed) V) bool {
	return slices.ContainsFunc(is, func(l Listed) bool {
		before := named(was, l.Name)
		return before != nil && something(*before) != something(l)
	})
}

// reordered tells whether images that are brought before and after come in another order: nodes may be stuck in the former one.
func reordered(was, is []Listed) bool {
	inBoth := func(list, other []Listed) []string {
		var names []string
		for _, l := range list {
			if o := named(other, l.Name); !l.Held && o != nil && !o.Held {
				names = append(names, l.Name)
			}
		}
		return names
	}
	return !slices.Equal(inBoth(was, is), inBoth(is, was))
}

// sameNodes tells whether two DaemonSets select the same nodes and use the same pull secrets.
func sameNodes(a, b *appsv1.DaemonSet) bool {
	was, is := &a.Spec.Template.Spec, &b.Spec.Template.Spec
	return same(was.Affinity, is.Affinity) && same(was.Tolerations, is.Tolerations) && same(was.ImagePullSecrets, is.ImagePullSecrets)
}

// same tells whether two parts of objects mean the same. Nearly always nothing differs at all, which is quick to see.
func same(a, b any) bool {
	return reflect.DeepEqual(a, b) || equality.Semantic.DeepEqual(a, b)
}

// keepPods makes a DaemonSet leave the pods alone that run already. Which nodes it selects is in its template, and every
// other change of a template restarts all pods. With the strategy OnDelete the controller only removes the pods of nodes
// that are not selected any more, and starts those of new ones. It is not for a roll under way: that would stop there.
func keepPods(ds *appsv1.DaemonSet) {
	ds.Spec.UpdateStrategy = appsv1.DaemonSetUpdateStrategy{Type: appsv1.OnDeleteDaemonSetStrategyType}
}

// withNodesOf is a stored DaemonSet with the nodes and the pull secrets of another one.
func withNodesOf(stored, desired *appsv1.DaemonSet) *appsv1.DaemonSet {
	ds := stored.DeepCopy()
	ds.Spec.Template.Spec.Affinity = desired.Spec.Template.Spec.Affinity.DeepCopy()
	ds.Spec.Template.Spec.Tolerations = slices.Clone(desired.Spec.Template.Spec.Tolerations)
	ds.Spec.Template.Spec.ImagePullSecrets = slices.Clone(desired.Spec.Template.Spec.ImagePullSecrets)
	keepPods(ds)
	sign(ds)
	return ds
}
