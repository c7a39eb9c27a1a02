package measure

import (
	"cmp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-prepull/kube-prepull/prepull/pulled"
)

// eventLife is how long API servers keep events unless they are told otherwise (--event-ttl).
const eventLife = time.Hour

// What a start found on its node.
const (
	Hit     = "hit"     // every image was there
	Miss    = "miss"    // some image was pulled
	Unknown = "unknown" // the events that would tell are gone
)

// PodStart is how a pod of a workload started. Steps are in seconds.
type PodStart struct {
	Pod  string `json:"pod"`
	Node string `json:"node"`

	// Outcome is hit, miss or unknown.
	Outcome string `json:"outcome"`

	// ScheduledTime is when the pod got its node.
	ScheduledTime time.Time `json:"scheduledTime"`

	// SandboxSeconds went by until the pod's sandbox was there; whole seconds.
	SandboxSeconds float64 `json:"sandboxSeconds"`

	// PulledSeconds is what containers waited for images, as the kubelet says; to the millisecond.
	PulledSeconds float64 `json:"pulledSeconds"`

	// StartUpSeconds went by until all containers had started, or is PulledSeconds if that is more; whole seconds
	// otherwise. 0 if a restart has overwritten when that was.
	StartUpSeconds float64 `json:"startUpSeconds"`

	// Images that containers waited for, the slowest first.
	Pulls []Pull `json:"pulls"`
}

// Pull is one image that a container waited for.
type Pull struct {
	Image         string  `json:"image"`
	PulledSeconds float64 `json:"pulledSeconds"`
	SizeBytes     int64   `json:"sizeBytes,omitempty"`
}

// imageKey is one use of an image in a pod: by a container, or by volumes.
type imageKey struct {
	pod   types.UID
	path  string
	image string
}

// firstWords keeps what kubelets said first about each use of an image: what they say later is about restarts. Of what was said
// within a second, the pull came first. Debugging containers are none of a workload's.
func firstWords(events []corev1.Event) map[types.UID]map[imageKey]pulled.Image {
	at := map[imageKey]time.Time{}
	found := map[types.UID]map[imageKey]pulled.Image{}
	for i := range events {
		e := &events[i]
		image, ok := pulled.Parse(e)
		if !ok || strings.HasPrefix(e.InvolvedObject.FieldPath, "spec.ephemeralContainers") {
			continue
		}
		key := imageKey{e.InvolvedObject.UID, e.InvolvedObject.FieldPath, image.Name}
		if before, known := at[key]; known {
			order := eventTime(e).Compare(before)
			if order > 0 || order == 0 && image.Present {
				continue
			}
		}
		at[key] = eventTime(e)
		if found[key.pod] == nil {
			found[key.pod] = map[imageKey]pulled.Image{}
		}
		found[key.pod][key] = image
	}
	return found
}

func eventTime(e *corev1.Event) time.Time {
	return cmp.Or(e.FirstTimestamp.Time, e.EventTime.Time, e.CreationTimestamp.Time)
}

// startOf a pod, given what its kubelet said of its images. It returns false as long as not all containers have started.
func startOf(pod *corev1.Pod, said map[imageKey]pulled.Image, now time.Time) (PodStart, bool) {
	scheduled := conditionTime(pod, corev1.PodScheduled)
	started, restarted := allStarted(pod)
	if scheduled.IsZero() || started.IsZero() && !restarted {
		return PodStart{}, false
	}
	s := PodStart{Pod: pod.Name, Node: pod.Spec.NodeName, ScheduledTime: scheduled.UTC(), Outcome: Unknown, Pulls: []Pull{}}
	if !restarted || now.Sub(scheduled) < eventLife {
		s.read(said, len(pod.Spec.InitContainers)+len(pod.Spec.Containers))
	}
	if restarted {
		return s, true
	}
	whole := started.Sub(scheduled)
	s.StartUpSeconds = max(seconds(whole), s.PulledSeconds)
	if sandbox := conditionTime(pod, corev1.PodReadyToStartContainers); sandbox.After(scheduled) && !sandbox.After(started) {
		s.SandboxSeconds = thousandths(min(seconds(sandbox.Sub(scheduled)), s.StartUpSeconds-s.PulledSeconds))
	}
	return s, true
}

// read takes in what a kubelet said of the images of a pod with some containers.
func (s *PodStart) read(said map[imageKey]pulled.Image, containers int) {
	told := 0
	var waited time.Duration
	for key, image := range said {
		if key.path != "" { // of image volumes it is not said which are which
			told++
		}
		if image.Present {
			continue
		}
		waited += image.Waited
		s.Pulls = append(s.Pulls, Pull{Image: image.Name, PulledSeconds: seconds(image.Waited), SizeBytes: image.Bytes})
	}
	slices.SortFunc(s.Pulls, func(a, b Pull) int {
		return cmp.Or(cmp.Compare(b.PulledSeconds, a.PulledSeconds), cmp.Compare(a.Image, b.Image))
	})
	s.PulledSeconds = seconds(waited)
	switch {
	case len(s.Pulls) > 0:
		s.Outcome = Miss
	case told >= containers:
		s.Outcome = Hit
	}
}

// conditionTime is when a condition of a pod became true, zero if it is not.
func conditionTime(pod *corev1.Pod, kind corev1.PodConditionType) time.Time {
	for _, c := range pod.Status.Conditions {
		if c.Type == kind && c.Status == corev1.ConditionTrue {
			return c.LastTransitionTime.Time
		}
	}
	return time.Time{}
}

// allStarted is when the last container of a pod started for the first time, zero if one has not. restarted is true if that is
// not known any more.
func allStarted(pod *corev1.Pod) (last time.Time, restarted bool) {
	if len(pod.Status.ContainerStatuses) < len(pod.Spec.Containers) {
		return time.Time{}, false
	}
	for _, c := range pod.Status.ContainerStatuses {
		state := c.State
		if c.RestartCount > 0 {
			state = c.LastTerminationState
		}
		var at time.Time
		switch {
		case c.RestartCount > 1:
			restarted = true
			continue
		case state.Running != nil:
			at = state.Running.StartedAt.Time
		case state.Terminated != nil:
			at = state.Terminated.StartedAt.Time
		}
		if at.IsZero() {
			return time.Time{}, restarted
		}
		if at.After(last) {
			last = at
		}
	}
	return last, restarted
}
