package warmth

import (
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// causeNoRoom is of a node that has no room for its prepull pod: no free millicore, no free place for a pod, or too many
// processes.
var causeNoRoom = Cause{Reason: "NoRoom", Words: "no room on the node"}

// NodeOf is the node that a pod of a DaemonSet is on, or is meant for: until the scheduler has bound it, that is in its affinity
// alone (ReplaceDaemonSetPodNodeNameNodeAffinity in pkg/controller/daemon/util).
func NodeOf(pod *corev1.Pod) string {
	a := pod.Spec.Affinity
	if pod.Spec.NodeName != "" || a == nil || a.NodeAffinity == nil || a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return pod.Spec.NodeName
	}
	for _, term := range a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
		for _, field := range term.MatchFields {
			if field.Key == metav1.ObjectNameField && len(field.Values) == 1 {
				return field.Values[0]
			}
		}
	}
	return ""
}

// NoRoom tells why the scheduler finds no room for a pod on its node, or the kubelet rejects it; false if neither is so.
func NoRoom(pod *corev1.Pod) (words string, found bool) {
	if pod.DeletionTimestamp != nil {
		return "", false
	}
	if pod.Status.Phase == corev1.PodFailed {
		return PlainMessage(pod.Status.Message, pod.Status.Reason), true
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable {
			return SchedulerWords(c.Message), true
		}
	}
	return "", false
}

// schedulerReason is one of the reasons for which nodes are left out, with how many they are.
var schedulerReason = regexp.MustCompile(`^\d+ (.*)$`)

// SchedulerWords are what the scheduler says of the one node that a pod may be on, such as "Insufficient cpu". It counts all
// other nodes as well: "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) didn't satisfy plugin(s) [NodeAffinity]. …".
func SchedulerWords(message string) string {
	_, reasons, _ := strings.Cut(message, "nodes are available: ")
	reasons, _, _ = strings.Cut(reasons, ". ")
	var own []string
	for _, reason := range strings.Split(strings.TrimSuffix(reasons, "."), ", ") {
		found := schedulerReason.FindStringSubmatch(reason)
		if found != nil && !strings.Contains(found[1], "NodeAffinity") && !strings.Contains(found[1], "node affinity") {
			own = append(own, found[1])
		}
	}
	if len(own) == 0 {
		return PlainMessage(message, corev1.PodReasonUnschedulable)
	}
	return PlainMessage(strings.Join(own, ", "), corev1.PodReasonUnschedulable)
}
