package credentials

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/kube-prepull/kube-prepull/prepull/pullsecret"
)

// Hide takes what is in pull secrets out of the messages of pods. The pods themselves are not changed.
func (k Knowledge) Hide(pods []*corev1.Pod) {
	if len(k.words) == 0 {
		return
	}
	for i, pod := range pods {
		if pullsecret.HasMessages(pod) {
			pods[i] = pullsecret.RedactPod(pod, k.hider)
		}
	}
}
