package plan

import (
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/kube-prepull/kube-prepull/prepull/warmth"
)

// surgeOf is how many nodes may have a second pod: as many as may pull a new list at the same time, and besides them those that
// have one and pull nothing new. The DaemonSet controller waits for these, too, until the pods are ready (rollingUpdate in
// pkg/controller/daemon/update.go). configured is the setting, and concurrent the number of nodes that it means. pods are those
// of the stored DaemonSet. While a roll goes on (rolls), it does not become less: each other number is a write. With another
// list all nodes pull something new.
func surgeOf(configured intstr.IntOrString, concurrent int, stored *appsv1.DaemonSet, pods []*corev1.Pod, rolls bool) intstr.IntOrString {
	on := map[string][]*corev1.Pod{}
	for _, pod := range pods {
		if node := warmth.NodeOf(pod); pod.DeletionTimestamp == nil {
			on[node] = append(on[node], pod)
		}
	}
	list := ListOf(stored)
	stuck, idle := 0, 0
	for _, pair := range on {
		if len(pair) < 2 {
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
	// Nodes come one by one, and may wait for some others.
	more := stuck + idle - idle%max(1, concurrent)
	if was := stored.Spec.UpdateStrategy.RollingUpdate; rolls && was != nil && was.MaxSurge != nil && was.MaxSurge.Type == intstr.Int {
		more = max(more, was.MaxSurge.IntValue()-concurrent)
	}
	if more == 0 {
		return configured
	}
	return intstr.FromInt32(int32(concurrent + more))
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
