package plan

import (
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/nodeclass"
	"github.com/kube-prepull/kube-prepull/prepull/warmth"
)

// orphanTime is how long a pod may be on a node that we have not heard of: the node is new, or it is gone.
const orphanTime = 10 * time.Second

// podsOfGoneNodes tells the pods of nodes that are gone from the others, and when it has to look again; zero if it has not.
// Where a node of the same name came after it, its kubelet takes such a pod for its own, and reports that containers ended
// well which have yet to run there. Where none came, the DaemonSet controller rolls nothing as long as the pod is there
// (rollingUpdate in pkg/controller/daemon/update.go), and Kubernetes collects it only after a minute.
func podsOfGoneNodes(pods []*corev1.Pod, nodes []corev1.Node, now time.Time) (current, former []*corev1.Pod, next time.Time) {
	born := make(map[string]time.Time, len(nodes))
	for i := range nodes {
		born[nodes[i].Name] = nodes[i].CreationTimestamp.Time
	}
	for _, pod := range pods {
		since, found := born[pod.Spec.NodeName]
		orphaned := warmth.ScheduledAt(pod).Add(orphanTime)
		gone := found && warmth.ScheduledAt(pod).Before(since) || !found && pod.Spec.NodeName != "" && !now.Before(orphaned)
		if !gone {
			current = append(current, pod)
			if !found && pod.Spec.NodeName != "" && (next.IsZero() || orphaned.Before(next)) {
				next = orphaned
			}
		} else if pod.DeletionTimestamp == nil {
			former = append(former, pod)
		}
	}
	return current, former, next
}

// misplacedPods are the pods on nodes of another class that their DaemonSet leaves there: it takes no pod from a node that got
// a taint. changing are the DaemonSets that are about to be written; what they do with their pods is not known yet.
func misplacedPods(pods []*corev1.Pod, classOf map[string]string, stored map[string]*appsv1.DaemonSet, changing map[string]bool) []*corev1.Pod {
	var found []*corev1.Pod
	for _, pod := range pods {
		class, known := classOf[pod.Spec.NodeName]
		if !known || pod.DeletionTimestamp != nil || class == pod.Labels[v1alpha1.LabelNodeClass] {
			continue
		}
		if name := daemonSetOf(pod); stored[name] != nil && !changing[name] {
			found = append(found, pod)
		}
	}
	return found
}

// unmountable are the pods of a class that hold images on nodes which cannot mount them: such a node has joined, and got its pod
// before it had said what it runs. The next pod brings all.
func (cp *ClassPlan) unmountable(pods []*corev1.Pod) []*corev1.Pod {
	var found []*corev1.Pod
	for _, pod := range pods {
		if len(warmth.HeldBy(pod)) == 0 || pod.DeletionTimestamp != nil || warmth.Ready(pod) {
			continue
		}
		on := slices.IndexFunc(cp.Nodes, func(n *corev1.Node) bool { return n.Name == pod.Spec.NodeName })
		if on >= 0 && nodeclass.CannotMountImages(cp.Nodes[on]) {
			found = append(found, pod)
		}
	}
	return found
}

// inOrder are pods by name: caches list them in no order, and of two that say something the same one counts each time.
func inOrder(pods []*corev1.Pod) []*corev1.Pod {
	return slices.SortedFunc(slices.Values(pods), func(a, b *corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
}

// podsByClass sorts pods by the class of the node that they are on, and by the lane that they are of.
func podsByClass(pods []*corev1.Pod, classOf map[string]string) (on map[string][]*corev1.Pod, of map[laneKey][]*corev1.Pod) {
	on, of = map[string][]*corev1.Pod{}, map[laneKey][]*corev1.Pod{}
	for _, pod := range pods {
		class, lane := classOf[warmth.NodeOf(pod)], laneKeyOf(pod)
		on[class] = append(on[class], pod)
		of[lane] = append(of[lane], pod)
	}
	return on, of
}
