package plan

import (
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/nodeclass"
	"github.com/kube-prepull/kube-prepull/prepull/warmth"
)

// openingTime is how long a class waits at most for the pods of its empty list: a node that cannot start one must not
// keep the images from all the others.
const openingTime = time.Minute

// lateShare is the part of the nodes that may pull at the same time which a class does not wait for: pods that are not
// ready take the new list at once, besides those whose turn it is.
const lateShare = 10

// opening tells whether a class begins with an empty list. The DaemonSet controller makes the first pods of all nodes at
// once, and only replaces pods that are ready in waves: a class with more nodes than may pull at the same time gets its
// images after its pods.
func opening(c *nodeclass.Class, stored *appsv1.DaemonSet, pods []*corev1.Pod, surge int, now time.Time) bool {
	switch {
	case len(c.Nodes) <= surge:
		return false
	case stored == nil:
		return true
	case len(ListOf(stored)) > 0 || now.Sub(stored.CreationTimestamp.Time) >= openingTime:
		return false
	}
	ready := map[string]bool{}
	for _, pod := range pods {
		if podReady(pod) {
			ready[pod.Spec.NodeName] = true
		}
	}
	late := 0
	for _, n := range c.Waiting {
		if !ready[n.Name] {
			late++
		}
	}
	return lateShare*late > surge
}

// orphanTime is how long a pod may be on a node that we have not heard of: the node is new, or it is gone.
const orphanTime = 10 * time.Second

// splitFormer tells the pods of nodes that are gone from the others, and when it has to look again; zero if it has not.
// Where a node of the same name came after it, its kubelet takes such a pod for its own, and reports that containers ended
// well which have yet to run there. Where none came, the DaemonSet controller rolls nothing as long as the pod is there
// (rollingUpdate in pkg/controller/daemon/update.go), and Kubernetes collects it only after a minute.
func splitFormer(pods []*corev1.Pod, nodes []corev1.Node, now time.Time) (current, former []*corev1.Pod, next time.Time) {
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

func podReady(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// settled tells whether every pod of a DaemonSet has its list, and no node has two: no roll is under way.
func settled(ds *appsv1.DaemonSet, pods []*corev1.Pod) bool {
	nodes := map[string]bool{}
	for _, pod := range pods {
		if pod.DeletionTimestamp != nil {
			continue
		}
		if otherList(pod, ds) || nodes[pod.Spec.NodeName] {
			return false
		}
		// Pods that wait for the scheduler have no node yet.
		if pod.Spec.NodeName != "" {
			nodes[pod.Spec.NodeName] = true
		}
	}
	return true
}

// stopped tells whether a DaemonSet leaves pods alone that have not got its list: the DaemonSet controller made them while
// it was behind. Only a roll gives them the list.
func stopped(ds *appsv1.DaemonSet, pods []*corev1.Pod) bool {
	return ds.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType &&
		slices.ContainsFunc(pods, func(pod *corev1.Pod) bool { return pod.DeletionTimestamp == nil && otherList(pod, ds) })
}

func otherList(pod *corev1.Pod, ds *appsv1.DaemonSet) bool {
	return pod.Labels[v1alpha1.LabelList] != ds.Labels[v1alpha1.LabelList]
}

// sameList tells whether the pods of two DaemonSets do the same.
func sameList(a, b *appsv1.DaemonSet) bool {
	return a.Labels[v1alpha1.LabelList] == b.Labels[v1alpha1.LabelList]
}

// sameSurroundings tells whether two DaemonSets select the same nodes and use the same pull secrets.
func sameSurroundings(a, b *appsv1.DaemonSet) bool {
	was, is := &a.Spec.Template.Spec, &b.Spec.Template.Spec
	return equality.Semantic.DeepEqual(was.Affinity, is.Affinity) &&
		equality.Semantic.DeepEqual(was.Tolerations, is.Tolerations) &&
		equality.Semantic.DeepEqual(was.ImagePullSecrets, is.ImagePullSecrets)
}

// keepPods makes a DaemonSet leave the pods alone that run already. Which nodes it selects is in its template, and every
// other change of a template restarts all pods. With the strategy OnDelete the controller only removes the pods of nodes
// that are not selected any more, and starts those of new ones. It is not for a roll under way: that would stop there.
func keepPods(ds *appsv1.DaemonSet) {
	ds.Spec.UpdateStrategy = appsv1.DaemonSetUpdateStrategy{Type: appsv1.OnDeleteDaemonSetStrategyType}
	ds.Annotations[AnnotationSpecHash] = specHash(&ds.Spec)
}

// moved is a stored DaemonSet with the nodes and the pull secrets of another one.
func moved(stored, desired *appsv1.DaemonSet) *appsv1.DaemonSet {
	ds := stored.DeepCopy()
	ds.Spec.Template.Spec.Affinity = desired.Spec.Template.Spec.Affinity.DeepCopy()
	ds.Spec.Template.Spec.Tolerations = slices.Clone(desired.Spec.Template.Spec.Tolerations)
	ds.Spec.Template.Spec.ImagePullSecrets = slices.Clone(desired.Spec.Template.Spec.ImagePullSecrets)
	if ds.Annotations == nil {
		ds.Annotations = map[string]string{}
	}
	keepPods(ds)
	return ds
}

// strays are the pods on nodes of another class that their DaemonSet leaves there: it takes no pod from a node that got
// a taint. changing are the DaemonSets that are about to be written; what they do with their pods is not known yet.
func strays(pods []*corev1.Pod, classOf map[string]string, stored map[string]*appsv1.DaemonSet, changing map[string]bool) []*corev1.Pod {
	var found []*corev1.Pod
	for _, pod := range pods {
		class, known := classOf[pod.Spec.NodeName]
		name := v1alpha1.Name + "-" + pod.Labels[v1alpha1.LabelNodeClass]
		if known && pod.DeletionTimestamp == nil && class != pod.Labels[v1alpha1.LabelNodeClass] && stored[name] != nil && !changing[name] {
			found = append(found, pod)
		}
	}
	return found
}
