package plan

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/nodeclass"
	"github.com/kube-prepull/kube-prepull/prepull/warmth"
)

// emptyStartTime is how long a class waits at most for the pods of its empty list: a node that cannot start one must not
// keep the images from all the others.
const emptyStartTime = time.Minute

// lateShare is the part of the nodes that may pull at the same time which a class does not wait for: pods that are not
// ready take the new list at once, besides those whose turn it is.
const lateShare = 10

// startsEmpty tells whether a class begins with an empty list. The DaemonSet controller makes the first pods of all nodes at
// once, and only replaces pods that are ready in waves: where more nodes begin than may pull at the same time, they get their
// images after their pods. begin is how many do, of all classes.
func startsEmpty(c *nodeclass.Class, stored *appsv1.DaemonSet, pods []*corev1.Pod, begin, surge int, now time.Time) bool {
	switch {
	case !begins(stored, now) || begin <= surge:
		return false
	case stored == nil:
		return true
	}
	ready := map[string]bool{}
	for _, pod := range pods {
		if warmth.Ready(pod) {
			ready[pod.Spec.NodeName] = true
		}
	}
	late := 0
	for _, n := range c.Pullable {
		if !ready[n.Name] {
			late++
		}
	}
	return lateShare*late > surge
}

// begins tells whether the DaemonSet of a class is to be made, or was made with an empty list a moment ago.
func begins(stored *appsv1.DaemonSet, now time.Time) bool {
	return stored == nil || len(ListOf(stored)) == 0 && now.Sub(stored.CreationTimestamp.Time) < emptyStartTime
}

// placing is which images have a use in a class, and which of them its nodes must not get.
type placing struct {
	placed   []*Candidate
	withheld map[*Candidate]bool
}

// placeOnAll places images on classes, and counts the nodes of the classes that begin with some. stored are their DaemonSets, by name.
func placeOnAll(wanted []*Candidate, classes []*nodeclass.Class, stored map[string]*appsv1.DaemonSet, now time.Time) (placings []placing, begin int) {
	for _, c := range classes {
		var p placing
		p.placed, p.withheld = placeOn(wanted, c)
		placings = append(placings, p)
		if len(p.placed) > 0 && begins(stored[daemonSetName(c.Name, 1)], now) && !hasFurtherLane(c, stored) {
			begin += len(c.Nodes)
		}
	}
	return placings, begin
}

// hasFurtherLane tells whether a class has a lane besides the first one: it began long ago.
func hasFurtherLane(c *nodeclass.Class, stored map[string]*appsv1.DaemonSet) bool {
	for number := 2; number <= v1alpha1.MaxPullsPerNode; number++ {
		if stored[daemonSetName(c.Name, number)] != nil {
			return true
		}
	}
	return false
}

// startEmpty takes the list of a lane away while its pods begin. begin is how many nodes do, of all classes.
func (cp *ClassPlan) startEmpty(l *lane, begin int, o Options, now time.Time) {
	begin = max(begin, len(cp.Nodes)) // a further lane begins by itself
	if o.MaxConcurrentNodes.Type == intstr.String {
		begin = len(cp.Nodes) // a share of each class
	}
	l.emptyStart = len(l.list) > 0 && startsEmpty(cp.Class, l.stored, l.on, begin, concurrentNodes(o, cp.Class), now)
	if !l.emptyStart {
		return
	}
	l.list = nil
	if l.stored != nil {
		cp.lookAgainBy(l.stored.CreationTimestamp.Add(emptyStartTime))
	}
}
