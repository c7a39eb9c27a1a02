package warmth

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// SkippedWords are the value of the annotation on a prepull pod whose node goes without an image: since when, and why.
func SkippedWords(f Failure, at time.Time) string {
	return at.UTC().Format(time.RFC3339) + " " + f.Reason + " " + f.Message
}

// SkippedBy reads why the node of a prepull pod goes without the image of an init container, and since when; false if it does
// not. Then the container runs another image, and proves nothing about its own.
func SkippedBy(pod *corev1.Pod, container string) (f Failure, at time.Time, skipped bool) {
	if len(pod.Annotations) == 0 {
		return Failure{}, time.Time{}, false // as most of very many
	}
	value, skipped := pod.Annotations[v1alpha1.AnnotationSkipped+container]
	if !skipped || ranItself(pod, container) {
		return Failure{}, time.Time{}, false
	}
	since, words, _ := strings.Cut(value, " ")
	reason, message, _ := strings.Cut(words, " ")
	at, _ = time.Parse(time.RFC3339, since)
	f = Failure{Cause: CauseOf(reason), Message: PlainMessage(message, reason), Settled: true, Alone: true, Since: pod.CreationTimestamp.Time, Began: ScheduledAt(pod)}
	return f, at, true
}

// ranItself tells whether a container has run its own image all the same: the kubelet pulled it as it was given another one. That
// is the image of the first container.
func ranItself(pod *corev1.Pod, container string) bool {
	s := statusOf(pod.Status.InitContainerStatuses, container)
	return s != nil && RanWell(s) && s.Image != pod.Status.InitContainerStatuses[0].Image
}

// BacksOff is the init container of a pod that waits because its kubelet could not pull the image; empty if there is none.
// Nothing was made of the container yet, so it can get another image.
func BacksOff(pod *corev1.Pod) string {
	for i := range pod.Status.InitContainerStatuses {
		s := &pod.Status.InitContainerStatuses[i]
		if RanWell(s) {
			continue
		}
		if w := s.State.Waiting; i > 0 && w != nil && (w.Reason == "ErrImagePull" || w.Reason == "ImagePullBackOff") {
			return s.Name
		}
		return ""
	}
	return ""
}
