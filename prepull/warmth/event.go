package warmth

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
)

// countedByEvents is at how many init containers all failures get into events: a kubelet sends 25 about a pod, and then one in five
// minutes. Each container takes four, and each failure up to four (defaultSpamBurst in k8s.io/client-go/tools/record/events_cache.go).
// Of later ones a single failure that is told may be one of many.
const countedByEvents = 3

// pullFailed is how the message of a kubelet's event about a failed pull begins.
const pullFailed = "Failed to pull image "

// FailedEvents selects the events in which kubelets report pulls that failed, among a few others.
var FailedEvents = fields.Set{"type": corev1.EventTypeWarning, "reason": "Failed", "involvedObject.kind": "Pod"}.AsSelector()

// eventSubject is the container of a pod that an event is about. A new pod of the same name is another one.
type eventSubject struct {
	pod       types.UID
	fieldPath string
}

// PullEvents sorts the events about failed pulls by container.
func PullEvents(events []corev1.Event) map[eventSubject][]*corev1.Event {
	about := map[eventSubject][]*corev1.Event{}
	for i := range events {
		if e := &events[i]; strings.HasPrefix(e.Message, pullFailed) {
			subject := eventSubject{e.InvolvedObject.UID, e.InvolvedObject.FieldPath}
			about[subject] = append(about[subject], e)
		}
	}
	return about
}

// lastFailure is the last of a container's failed pulls since a time, in the kubelet's words, and how many there were.
// An event with the same words stands for several.
func lastFailure(events []*corev1.Event, since time.Time) (message string, failures int32) {
	var last time.Time
	for _, e := range events {
		at := e.LastTimestamp.Time
		if at.Before(since) {
			continue
		}
		failures += max(1, e.Count)
		if at.After(last) || at.Equal(last) && e.Message < message {
			last, message = at, e.Message
		}
	}
	return message, failures
}

// WithPullEvents is a pod as its kubelet will report it. A failed pull gets into the status when the kubelet looks at the
// pod again, after 10 to 15 seconds, but into an event at once. So the init container that a node is at counts as failing
// if an event gives a permanent answer, or if there were two failures of another kind: after a first one the kubelet tries
// again. Whatever else the status says of the container counts more. What happened before the container's turn, or before
// it last ran, is history.
func WithPullEvents(pod *corev1.Pod, events map[eventSubject][]*corev1.Event) *corev1.Pod {
	pod = withHeldEvents(pod, events[eventSubject{pod.UID, ""}])
	statuses := pod.Status.InitContainerStatuses
	front := slices.IndexFunc(statuses, func(s corev1.ContainerStatus) bool { return !RanWell(&s) })
	if front < 0 {
		return pod
	}
	s := statuses[front]
	w := s.State.Waiting
	if w == nil || w.Reason != "PodInitializing" && w.Reason != "ErrImagePull" && w.Reason != "ImagePullBackOff" {
		return pod
	}
	since := endBefore(pod, front)
	if t := s.LastTerminationState.Terminated; t != nil && t.FinishedAt.After(since) {
		since = t.FinishedAt.Time
	}
	about := events[eventSubject{pod.UID, "spec.initContainers{" + s.Name + "}"}]
	said, fails := failedPull(s, about, since)
	if w.Reason == "ImagePullBackOff" {
		said.State = backOff(s, about, since)
		if said.RestartCount == 1 && (front > countedByEvents || len(HeldBy(pod)) > 0) {
			said.RestartCount = 0
		}
	} else if !fails {
		return pod
	}
	next := *pod
	next.Status.InitContainerStatuses = slices.Clone(statuses)
	next.Status.InitContainerStatuses[front] = said
	return &next
}

// backOff is the state of a container whose kubelet backs off. It is newer than events, but before Kubernetes 1.32 without the words
// of the registry: those are in the last event.
func backOff(s corev1.ContainerStatus, events []*corev1.Event, since time.Time) corev1.ContainerState {
	if PlainMessage(s.State.Waiting.Message, "") != "" {
		return s.State
	}
	message, _ := lastFailure(events, since)
	return waitsFor(message)
}

// waitsFor is the state of a container whose kubelet backs off, for a reason.
func waitsFor(message string) corev1.ContainerState {
	return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: message}}
}

// failedPull is a status as the kubelet will report it, if events since a time tell of failures that count. Their number, also where
// they do not count, is the count of restarts: of a container that was not made, that is otherwise 0.
func failedPull(s corev1.ContainerStatus, events []*corev1.Event, since time.Time) (corev1.ContainerStatus, bool) {
	message, failures := lastFailure(events, since)
	s.RestartCount = max(s.RestartCount, failures)
	if failures == 0 || failures == 1 && !SpokenCause(message).Permanent {
		return s, false
	}
	s.State = waitsFor(message)
	return s, true
}

// RanWell tells whether an init container has run and ended without an error.
func RanWell(s *corev1.ContainerStatus) bool {
	return s.State.Terminated != nil && s.State.Terminated.ExitCode == 0
}
