package warmth

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// InstallContainer is the name of the init container that comes before those of images: it installs noop.
const InstallContainer = "install"

// WaitContainer is the name of the container that keeps the images: it runs once all are there that it holds.
const WaitContainer = "wait"

// PullState is how far a node is with an image of its list.
type PullState string

// The states of an image in the list of a node, which pulls one after the other.
const (
	PullDone   PullState = "Ready"
	PullActive PullState = "Pulling"
	PullFailed PullState = "Failing"
	PullQueued PullState = "Queued"
)

// Pull is an image in the list of a prepull pod, and how far its node is with it.
type Pull struct {
	// Name of the image: its ObjectName.
	Name string

	// State is PullDone if the image is there. The one behind the last that is done is active or fails; the rest is queued.
	// One that is held may fail as well, and nothing is queued behind it.
	State PullState

	// Took is how long a done image was waited for, in whole seconds and about one too many.
	Took time.Duration

	// Reason is why a failing image cannot be pulled, such as NotFound; Message is what the registry, the runtime or the
	// kubelet says.
	Reason, Message string
}

// FailedPulls selects the events in which kubelets report pulls that failed, among a few others.
var FailedPulls = FailedEvents

// FailedPullEvents are what kubelets have reported of failed pulls, by container.
type FailedPullEvents map[eventSubject][]*corev1.Event

// FailedPullsIn finds what events tell of failed pulls.
func FailedPullsIn(events []corev1.Event) FailedPullEvents { return PullEvents(events) }

// PullsOf reads the images of a prepull pod in the order of its list, with what events tell in advance of its status, and
// with what its node lists, by image string. stuck is why the pod does not even get to the first one; empty if it does.
func PullsOf(pod *corev1.Pod, failed FailedPullEvents, lists func(image string) bool) (pulls []Pull, stuck string) {
	pod = WithPullEvents(pod, failed)
	pulls = heldPulls(pod, lists)
	var previous time.Time
	runs := runsOf(pod)
	front := !slices.ContainsFunc(pulls, func(p Pull) bool { return p.State == PullActive })
	for i := range pod.Status.InitContainerStatuses {
		s := &pod.Status.InitContainerStatuses[i]
		p := Pull{Name: s.Name, State: PullQueued}
		if RanWell(s) {
			started, ended := runs.next(s.State.Terminated)
			p.State, p.Took = PullDone, pullTime(previous, started)
			if f, _, skipped := SkippedBy(pod, s.Name); skipped {
				p.State, p.Took, p.Reason, p.Message = PullFailed, 0, f.Reason, f.Message
			}
			previous = ended
		} else if front {
			front = false
			p.State = PullActive
			if f, fails := failureOf(s); fails {
				p.State, p.Reason, p.Message = PullFailed, f.Reason, f.Message
			}
		}
		if s.Name != InstallContainer {
			pulls = append(pulls, p)
		} else if p.State == PullFailed {
			stuck = p.Message
		}
	}
	return pulls, stuck
}
