package prepull

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// hide takes what is in pull secrets out of the messages of pods, and says whether it was in any.
func (c *credentials) hide(pods []*corev1.Pod) bool {
	var words *strings.Replacer
	found := false
	for i, pod := range pods {
		if !slices.ContainsFunc(pod.Status.InitContainerStatuses, func(s corev1.ContainerStatus) bool { return len(messagesOf(&s)) > 0 }) {
			continue
		}
		if words == nil {
			var known []string
			for _, r := range c.read {
				known = append(known, r.words...)
			}
			words = hiding(known)
		}
		pods[i] = withoutWords(pod, words)
		found = found || pods[i] != pod
	}
	return found
}
