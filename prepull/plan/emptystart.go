package plan

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

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
// once, and only replaces pods that are ready in waves: a class with more nodes than may pull at the same time gets its
// images after its pods.
func startsEmpty(c *nodeclass.Class, stored *appsv1.DaemonSet, pods []*corev1.Pod, surge int, now time.Time) bool {
	switch {
	case len(c.Nodes) <= surge:
		return false
	case stored == nil:
		return true
	case len(ListOf(stored)) > 0 || now.Sub(stored.CreationTimestamp.Time) >= emptyStartTime:
		return false
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
