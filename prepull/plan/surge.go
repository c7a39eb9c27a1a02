package plan

import (
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/kube-prepull/kube-prepull/prepull/warmth"
)

// surge is how many nodes may have a second pod: as many as may pull a new list at the same time, and besides them those that
// have one and pull nothing new. The DaemonSet controller waits for these, too, until the pods are ready (rollingUpdate in
// pkg/controller/daemon/update.go). configured is the setting. Each other number is a write. So a roll keeps the number that it has
// until a good part more may come: for pods that pull nothing, or since other classes are done. What is done keeps it, too, unless it
// is more than may pull. With another list all nodes pull something new.
func (r *rollout) surge(change listChange, configured intstr.IntOrString) intstr.IntOrString {
	begins, rolls, was := change == changedList, r.state.rolls(), maxSurgeOf(r.stored)
	more := r.pullNothing(rolls && !begins, was)
	want := r.concurrent + more
	enough := want >= 2*was || more > 0 && want-was >= max(1, r.concurrent/4)
	if was > 0 && !begins && (rolls && !enough || !rolls && was < want) {
		want = was
	} else if more == 0 && configured.Type == intstr.String {
		return configured
	}
	return intstr.FromInt32(int32(want))
}

// maxSurgeOf a DaemonSet, 0 if it has none, or a percentage.
func maxSurgeOf(ds *appsv1.DaemonSet) int {
	if update := ds.Spec.UpdateStrategy.RollingUpdate; update != nil && update.MaxSurge != nil && update.MaxSurge.Type == intstr.Int {
		return update.MaxSurge.IntValue()
	}
	return 0
}

// pullNothing counts the nodes with two pods that pull nothing new: those without room, and where a roll goes on those that have
// all that they lacked. These come one by one, and may wait for some others: as many as the surge was.
func (r *rollout) pullNothing(rolls bool, was int) int {
	on := make(map[string][2]*corev1.Pod, len(r.pods))
	for _, pod := range r.pods {
		if pod.DeletionTimestamp != nil {
			continue
		}
		node := warmth.NodeOf(pod)
		if pair := on[node]; pair[0] == nil {
			on[node] = [2]*corev1.Pod{pod}
		} else if pair[1] == nil {
			on[node] = [2]*corev1.Pod{pair[0], pod}
		}
	}
	list := ListOf(r.stored)
	stuck, idle := 0, 0
	for _, pair := range on {
		if pair[1] == nil {
			continue
		}
		former, next := pair[0], pair[1]
		if warmth.Ready(next) {
			former, next = next, former
		}
		if _, noRoom := warmth.NoRoom(pair[0]); noRoom {
			stuck++
		} else if _, noRoom := warmth.NoRoom(pair[1]); noRoom {
			stuck++
		} else if rolls && pullsNothingNew(former, next, list) {
			idle++
		}
	}
	part := max(1, r.concurrent)
	if was > 0 {
		part = min(part, was)
	}
	return stuck + idle - idle%part
}

// pullsNothingNew tells whether a pod that is not ready has come to images that the former one of its node has, and only those
// are left: to go through them takes time, and costs a registry nothing. So does one that waits for an image that it holds.
func pullsNothingNew(former, next *corev1.Pod, list []Listed) bool {
	if !warmth.Ready(former) || warmth.Ready(next) {
		return false
	}
	left := slices.Clone(next.Status.InitContainerStatuses)
	done := slices.IndexFunc(left, func(s corev1.ContainerStatus) bool { return !warmth.RanWell(&s) })
	if done < 0 {
		return warmth.WaitsForHeld(next)
	}
	return !slices.ContainsFunc(left[done:], func(s corev1.ContainerStatus) bool {
		l := named(list, s.Name)
		return l == nil || l.always || !warmth.Keeps(former, s.Name)
	})
}
