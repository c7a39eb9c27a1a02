package measure

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// heard is a piece of news some milliseconds after the pod was created.
type heard struct {
	after int
	news  watch.Event
}

func said(path, reason, message string) watch.Event {
	return watch.Event{Type: watch.Added, Object: &corev1.Event{
		InvolvedObject: corev1.ObjectReference{FieldPath: path}, Reason: reason, Message: message,
	}}
}

func became(status corev1.PodStatus) watch.Event {
	return watch.Event{Type: watch.Modified, Object: &corev1.Pod{Status: status}}
}

func conditions(c ...corev1.PodCondition) watch.Event {
	return became(corev1.PodStatus{Conditions: c})
}

func waiting(container, reason, message string) watch.Event {
	status := []corev1.ContainerStatus{{
		Name: container, Image: "app:v1", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}},
	}}
	if container == installContainer {
		return became(corev1.PodStatus{InitContainerStatuses: status})
	}
	return became(corev1.PodStatus{ContainerStatuses: status})
}

const (
	pulledText  = `Successfully pulled image "app:v1" in 2s (5s including waiting). Image size: 100 bytes.`
	presentText = `Container image "app:v1" already present on machine`
)

func listen(all []heard) *sighting {
	created := time.Unix(1000, 0)
	s := &sighting{timeline: timeline{created: created}}
	for _, h := range all {
		s.see(h.news, created.Add(time.Duration(h.after)*time.Millisecond))
	}
	return s
}

var (
	scheduledNews = conditions(corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionTrue})
	sandboxNews   = conditions(corev1.PodCondition{Type: corev1.PodReadyToStartContainers, Status: corev1.ConditionTrue})
)

func TestSightingOfAStart(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		heard []heard
		want  Start
	}{
		"cold": {
			[]heard{
				{10, scheduledNews}, {500, sandboxNews}, {600, said(installPath, "Pulled", presentText)}, {900, said(installPath, "Started", "")},
				{1500, said(measuredPath, "Pulling", "")}, {6600, said(measuredPath, "Pulled", pulledText)},
				{6700, said(measuredPath, "Created", "")}, {6800, said(measuredPath, "Started", "")},
			},
			Start{Cold: true, ScheduledSeconds: 0.01, SandboxSeconds: 0.49, PreparationSeconds: 1, PulledSeconds: 5, QueueSeconds: 3, StartedSeconds: 0.2, StartUpSeconds: 5.69},
		},
		"warm": {
			[]heard{
				{10, scheduledNews}, {500, sandboxNews}, {1500, said(measuredPath, "Pulled", presentText)}, {1700, said(measuredPath, "Started", "")},
			},
			Start{ScheduledSeconds: 0.01, SandboxSeconds: 0.49, PreparationSeconds: 1, StartedSeconds: 0.2, StartUpSeconds: 0.69},
		},
		"the event that the pull began is lost": {
			[]heard{
				{10, scheduledNews}, {500, sandboxNews}, {6500, said(measuredPath, "Pulled", pulledText)}, {6700, said(measuredPath, "Started", "")},
			},
			Start{Cold: true, ScheduledSeconds: 0.01, SandboxSeconds: 0.49, PreparationSeconds: 1, PulledSeconds: 5, QueueSeconds: 3, StartedSeconds: 0.2, StartUpSeconds: 5.69},
		},
		"the events go before the condition, and what comes twice counts once": {
			[]heard{
				{10, scheduledNews}, {20, scheduledNews}, {400, said(installPath, "Pulled", presentText)}, {500, sandboxNews},
				{1500, said(measuredPath, "Pulled", presentText)}, {1700, said(measuredPath, "Started", "")}, {1800, said(measuredPath, "Started", "")},
			},
			Start{ScheduledSeconds: 0.01, SandboxSeconds: 0.39, PreparationSeconds: 1.1, StartedSeconds: 0.2, StartUpSeconds: 0.59},
		},
		"news that overtake each other make no step negative": {
			[]heard{
				{400, said(installPath, "Pulled", presentText)}, {500, scheduledNews},
				{600, said(measuredPath, "Started", "")}, {700, said(measuredPath, "Pulled", presentText)},
			},
			Start{ScheduledSeconds: 0.5, PreparationSeconds: 0.3},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := listen(test.heard)
			if !s.complete() || s.failure != "" {
				t.Fatalf("complete: %v, failure: %q", s.complete(), s.failure)
			}
			if diff := cmp.Diff(test.want, s.start("")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestSightingOfAFailure(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		news watch.Event
		want string
	}{
		"no such image, by event":      {said(measuredPath, "Failed", `Failed to pull image "app:v1": not found`), "not found"},
		"no such image, by status":     {waiting(measuredContainer, "ErrImagePull", "not found"), "not found"},
		"noop's image cannot be had":   {waiting(installContainer, "ImagePullBackOff", "no host"), "noop's image app:v1"},
		"a container cannot be made":   {waiting(measuredContainer, "CreateContainerError", "no space"), "no space"},
		"nothing fits":                 {conditions(corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: "Too many pods"}), "Too many pods"},
		"the kubelet refuses":          {became(corev1.PodStatus{Phase: corev1.PodFailed, Reason: "OutOfpods", Message: "no room"}), "OutOfpods: no room"},
		"somebody interferes":          {watch.Event{Type: watch.Deleted, Object: &corev1.Pod{}}, "deleted"},
		"words that move the cursor":   {waiting(measuredContainer, "ErrImagePull", "a\x1b[2Jb\nc"), "a\uFFFD[2Jb c"},
		"noop is of another processor": {became(corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: measuredContainer, State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 128, Reason: "StartError", Message: "exec format error"}}}}}), "exec format error"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := listen([]heard{{10, test.news}, {20, waiting(measuredContainer, "ErrImagePull", "what came of it")}})
			if s.complete() || !strings.Contains(s.failure, test.want) {
				t.Errorf("complete: %v, failure: %q, want %q in it", s.complete(), s.failure, test.want)
			}
		})
	}
}

func TestStandstill(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		heard []heard
		want  string
	}{
		"nothing":       {nil, "nothing happened"},
		"a pull":        {[]heard{{1, said(measuredPath, "Pulling", `Pulling image "app:v1"`)}}, `Pulling image "app:v1"`},
		"events missed": {[]heard{{1, became(corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: measuredContainer, State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}}}})}}, "events"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := listen(test.heard).standstill(); !strings.Contains(got, test.want) {
				t.Errorf("%q, want %q in it", got, test.want)
			}
		})
	}
}
