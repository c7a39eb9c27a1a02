package plan

import (
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/nodeclass"
	"github.com/kube-prepull/kube-prepull/prepull/warmth"
)

// lane is one of the DaemonSets of a class. A node has a pod of each: a pod pulls one image after the other, so as many are
// pulled at the same time as there are lanes. Each has its own list, and comes to it on its own.
type lane struct {
	// number from 1, and the name of its DaemonSet.
	number int
	name   string

	// stored is its DaemonSet, nil if there is none, and current the list of it.
	stored  *appsv1.DaemonSet
	current []Listed

	// on are its pods on the nodes of the class, and pods those of its DaemonSet. state is how far these are with its list.
	on, pods []*corev1.Pod
	state    rollState

	division

	// list are its images, in order. It is empty while emptyStart is set: its pods start with an empty one.
	list       []entry
	emptyStart bool

	// desired is the DaemonSet as it should be, change is what differs from the stored one, and why are the reasons for that.
	desired *appsv1.DaemonSet
	change  listChange
	why     reasons

	// refused is why it has no DaemonSet, or no pods.
	refused refusal
}

// lanesOf a class are as many as its nodes are to pull images at the same time, and those beyond that still have a DaemonSet.
func lanesOf(c *nodeclass.Class, stored map[string]*appsv1.DaemonSet, on []*corev1.Pod, of map[laneKey][]*corev1.Pod, o Options) []*lane {
	onLane := map[int][]*corev1.Pod{}
	for _, pod := range on {
		number := laneNumber(pod)
		onLane[number] = append(onLane[number], pod)
	}
	var lanes []*lane
	most := max(1, o.PullsPerNode)
	for number := 1; number <= v1alpha1.MaxPullsPerNode; number++ {
		name := daemonSetName(c.Name, number)
		l := &lane{number: number, name: name, stored: stored[name], current: ListOf(stored[name]), on: onLane[number], pods: of[laneKey{c.Name, number}]}
		if l.stored != nil {
			most, l.state = max(most, number), rollStateOf(l.stored, l.pods, o.ImageVolumes)
		}
		lanes = append(lanes, l)
	}
	return lanes[:most]
}

// laneNumber is that of the lane of a prepull pod.
func laneNumber(pod *corev1.Pod) int {
	label := pod.Labels[v1alpha1.LabelLane]
	if label == "" {
		return 1 // as nearly all
	}
	if number, err := strconv.Atoi(label); err == nil {
		return number
	}
	return 1
}

// laneLabel is the label of the pods of a lane: the first one has none, since there may be no others.
func laneLabel(number int) string {
	if number == 1 {
		return ""
	}
	return strconv.Itoa(number)
}

// laneKey is a lane by the name of its class and its number.
type laneKey struct {
	class  string
	number int
}

// laneKeyOf is that of the lane of a prepull pod.
func laneKeyOf(pod *corev1.Pod) laneKey {
	return laneKey{pod.Labels[v1alpha1.LabelNodeClass], laneNumber(pod)}
}

// daemonSetOf is the name of the DaemonSet of a prepull pod.
func daemonSetOf(pod *corev1.Pod) string {
	return daemonSetName(pod.Labels[v1alpha1.LabelNodeClass], laneNumber(pod))
}

// laneOf an image.
func (cp *ClassPlan) laneOf(i *ClassImage) *lane { return cp.lanes[i.lane-1] }

// was is an image as the current list of a lane has it; it has no name if it is not there.
func (l *lane) was(i *ClassImage) Listed {
	if was := named(l.current, i.Name); was != nil {
		return *was
	}
	return Listed{}
}

// needed tells whether a lane has a DaemonSet.
func (l *lane) needed() bool { return len(l.list) > 0 || l.emptyStart }

// entriesOf a lane are the chosen images that it pulls, and those of others that are still kept by it alone.
func (cp *ClassPlan) entriesOf(l *lane, chosen []*ClassImage) []entry {
	entries := make([]entry, 0, len(chosen))
	for _, image := range chosen {
		listed := l.was(image).Name != ""
		switch {
		case image.lane != l.number && !(listed && cp.keepsAlone(l, image)):
			continue
		case image.access.Awaited && !listed:
			continue // a place is kept for it until its pull secret is there
		}
		held := l.holds(image)
		entries = append(entries, entry{
			Candidate: image.Candidate,
			hot:       image.hot,
			missing:   2*image.Warmth.Ready() < len(cp.Pullable),
			troubled:  len(image.Warmth.Failed) > 0 || rests(image.retry),
			held:      held,
			atEnd:     image.standing == standingLast && !held,
		})
	}
	return entries
}

// keepsAlone tells whether pods of a lane keep an image on a node where the lane that it belongs to does not yet: there it would
// be lost if it left the list. A pod with a former list goes any moment, and does not count. Nor does a node without room for the other
// lane: where a pod finds no room, that of this lane is not replaced either.
func (cp *ClassPlan) keepsAlone(l *lane, i *ClassImage) bool {
	to := cp.laneOf(i)
	kept := map[string]bool{}
	for _, pod := range to.pods {
		if _, full := warmth.NoRoom(pod); full {
			kept[warmth.NodeOf(pod)] = true // it would be waited for in vain
		} else if pod.DeletionTimestamp == nil && to.has(pod) && warmth.Keeps(pod, i.Name) {
			kept[pod.Spec.NodeName] = true
		}
	}
	return slices.ContainsFunc(l.on, func(pod *corev1.Pod) bool {
		node := pod.Spec.NodeName
		_, counts := cp.Warmth.At[node]
		return counts && !kept[node] && warmth.Keeps(pod, i.Name)
	})
}

// has tells whether a pod has the current list of a lane.
func (l *lane) has(pod *corev1.Pod) bool {
	return l.stored != nil && pod.Labels[v1alpha1.LabelList] == l.stored.Labels[v1alpha1.LabelList]
}

// compare finds what differs from the stored DaemonSets, and tells whether lists change in which other images may be held then:
// those are to be made anew, and keep their reasons.
func (cp *ClassPlan) compare(o Options) (again bool) {
	for _, l := range cp.lanes {
		l.desired = daemonSet(cp.Class, l.number, l.list, o)
		if !l.still {
			continue
		}
		l.why, l.change = cp.reasons(l), listChangeOf(l.stored, l.desired)
		if l.able && l.stored != nil && l.change == changedList {
			l.still, again = false, true
		}
	}
	return again
}
