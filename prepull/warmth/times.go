package warmth

import (
	"encoding/binary"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// AnnotationTimes is where a cache keeps the times that PackTimes returns. No stored pod has it.
const AnnotationTimes = "cache.kube-prepull.io/times"

// PackTimes returns when the init containers of a pod that ran well started and ended, in a few bytes each: thousands of pods
// differ in little else, and a status takes hundreds. It is empty if there is nothing to tell; Kubernetes' times are whole seconds.
func PackTimes(pod *corev1.Pod) string {
	var packed []byte
	at := startOf(pod)
	for i := range pod.Status.InitContainerStatuses {
		s := &pod.Status.InitContainerStatuses[i]
		if !RanWell(s) {
			continue
		}
		for _, t := range []time.Time{s.State.Terminated.StartedAt.Time, s.State.Terminated.FinishedAt.Time} {
			packed = binary.AppendVarint(packed, t.Unix()-at)
			at = t.Unix()
		}
	}
	return string(packed)
}

// startOf is what packed times count from.
func startOf(pod *corev1.Pod) int64 {
	if pod.Status.StartTime == nil {
		return 0
	}
	return pod.Status.StartTime.Unix()
}

// runs are the init containers of a pod that ran well, one after the other.
type runs struct {
	packed *strings.Reader // nil if the statuses have the times
	at     int64
}

func runsOf(pod *corev1.Pod) runs {
	packed, found := pod.Annotations[AnnotationTimes]
	if !found {
		return runs{}
	}
	return runs{strings.NewReader(packed), startOf(pod)}
}

// next is when the next one started and ended; t is what its status says.
func (r *runs) next(t *corev1.ContainerStateTerminated) (started, ended time.Time) {
	if r.packed == nil {
		return t.StartedAt.Time, t.FinishedAt.Time
	}
	started = r.read()
	return started, r.read()
}

func (r *runs) read() time.Time {
	later, err := binary.ReadVarint(r.packed)
	if err != nil {
		return time.Time{} // a pod whose annotation is somebody else's tells nothing
	}
	r.at += later
	return time.Unix(r.at, 0)
}

// endBefore is when the last of the first so many init containers ended, all of which ran well; zero if there is none.
func endBefore(pod *corev1.Pod, count int) (ended time.Time) {
	runs := runsOf(pod)
	for i := range count {
		_, ended = runs.next(pod.Status.InitContainerStatuses[i].State.Terminated)
	}
	return ended
}
