package measure

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/cli"
	"github.com/kube-prepull/kube-prepull/prepull/pulled"
)

// Where the events of kubelets say which container they are about.
const (
	installPath  = "spec.initContainers{" + installContainer + "}"
	measuredPath = "spec.containers{" + measuredContainer + "}"
)

// stuck are the reasons for which a container waits, and will not start by waiting.
var stuck = []string{
	"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError", "RegistryUnavailable",
	"SignatureValidationFailed", "CreateContainerConfigError", "CreateContainerError", "RunContainerError", "CrashLoopBackOff",
}

// sighting collects what is heard of a pod, as it comes in.
type sighting struct {
	timeline
	failure string // why the pod will not start, in the words of who says so
	latest  string // what was heard last, for the case that nothing more is
	ran     bool   // the pod's status says that the container has started
}

// see takes in one piece of news; some may come twice.
func (s *sighting) see(news watch.Event, at time.Time) {
	switch o := news.Object.(type) {
	case *corev1.Pod:
		if news.Type == watch.Deleted {
			s.fail("somebody deleted the pod")
			return
		}
		s.seePod(o, at)
	case *corev1.Event:
		if news.Type != watch.Deleted {
			s.seeEvent(o, at)
		}
	}
}

func (s *sighting) seePod(pod *corev1.Pod, at time.Time) {
	for _, c := range pod.Status.Conditions {
		switch {
		case c.Type == corev1.PodScheduled && c.Status == corev1.ConditionTrue:
			first(&s.scheduled, at)
		case c.Type == corev1.PodScheduled && c.Reason == corev1.PodReasonUnschedulable:
			s.fail("the scheduler does not put the pod there: " + c.Message)
		case c.Type == corev1.PodReadyToStartContainers && c.Status == corev1.ConditionTrue:
			first(&s.sandbox, at)
		}
	}
	for _, status := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		what := "the image"
		if status.Name == installContainer {
			what = "noop's image " + status.Image
		}
		if w := status.State.Waiting; w != nil && slices.Contains(stuck, w.Reason) {
			s.fail(fmt.Sprintf("the node cannot start a container of %s: %s: %s", what, w.Reason, w.Message))
		}
		if t := status.State.Terminated; t != nil && t.ExitCode != 0 {
			s.fail(fmt.Sprintf("noop fails in a container of %s: exit code %d, %s: %s", what, t.ExitCode, t.Reason, t.Message))
		}
		if status.Name == measuredContainer && (status.State.Running != nil || status.State.Terminated != nil) {
			s.ran = true
		}
	}
	if pod.Status.Phase == corev1.PodFailed {
		s.fail(fmt.Sprintf("the pod failed: %s: %s", pod.Status.Reason, pod.Status.Message))
	}
}

func (s *sighting) seeEvent(e *corev1.Event, at time.Time) {
	s.latest = e.Message
	path := e.InvolvedObject.FieldPath
	if e.Reason == "Failed" && strings.HasPrefix(e.Message, "Failed to pull image") {
		s.fail("the node cannot pull: " + e.Message)
		return
	}
	switch {
	case path == installPath:
		first(&s.sandbox, at) // kubelets older than the condition
	case path == measuredPath && e.Reason == "Pulling":
		first(&s.prepared, at)
	case path == measuredPath && e.Reason == pulled.Reason:
		if image, ok := pulled.Parse(e); ok {
			first(&s.prepared, at.Add(-image.Waited))
			first(&s.ready, at)
			s.image, s.named = image, true
		}
	case path == measuredPath && e.Reason == "Started":
		first(&s.started, at)
	}
}

// fail keeps the first failure: the others follow from it.
func (s *sighting) fail(words string) {
	if s.failure == "" {
		s.failure = cli.Plain(strings.TrimRight(words, ": ")).String()
	}
}

// first sets a time that is not set yet.
func first(t *time.Time, at time.Time) {
	if t.IsZero() {
		*t = at
	}
}
