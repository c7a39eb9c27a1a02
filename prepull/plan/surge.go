package plan

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/kube-prepull/kube-prepull/prepull/warmth"
)

// surgeOf is how many nodes may have a second pod: as many as may take a new list at the same time, and besides them those
// with no room for it. The DaemonSet controller counts these too, for ever (rollingUpdate in
// pkg/controller/daemon/update.go), and they pull nothing. surge is the number that is configured, and pods are those of the
// DaemonSet.
func surgeOf(configured intstr.IntOrString, surge int, pods []*corev1.Pod) intstr.IntOrString {
	on := map[string]int{}
	for _, pod := range pods {
		if pod.DeletionTimestamp == nil {
			on[warmth.NodeOf(pod)]++
		}
	}
	stuck := 0
	for _, pod := range pods {
		if _, noRoom := warmth.NoRoom(pod); noRoom && on[warmth.NodeOf(pod)] > 1 {
			stuck++
		}
	}
	if stuck == 0 {
		return configured
	}
	return intstr.FromInt32(int32(surge + stuck))
}
