package warmth

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
)

const (
	saysNotFound = `Failed to pull image "a:1": rpc error: code = NotFound desc = a:1: not found`
	saysTimeout  = `Failed to pull image "a:1": rpc error: code = Unknown desc = dial tcp: i/o timeout`
)

// failedEvent is the event of a pull that failed, at a second of the test hour.
func failedEvent(pod types.UID, container, message string, at int) corev1.Event {
	return corev1.Event{
		InvolvedObject: corev1.ObjectReference{UID: pod, FieldPath: "spec.initContainers{" + container + "}"},
		Message:        message,
		LastTimestamp:  metav1.NewTime(prepulltest.Noon.Add(time.Duration(at) * time.Second)),
	}
}

func TestAnEventComesBeforeTheStatus(t *testing.T) {
	t.Parallel()
	const pulling = "PodInitializing"
	ranBefore := prepulltest.Waits("a", pulling, "")
	ranBefore.LastTerminationState = prepulltest.Done("a", 5, 6).State
	fresh := []corev1.Event{failedEvent("uid", "a", saysNotFound, 9)}
	timeouts := func(count int32) []corev1.Event {
		e := failedEvent("uid", "a", saysTimeout, 10)
		e.Count = count
		return []corev1.Event{e}
	}
	limits := []corev1.Event{failedEvent("uid", "a", `Failed to pull image "a:1": pull QPS exceeded`, 10)}
	limits[0].Count = 7
	restarts := prepulltest.Waits("a", "ImagePullBackOff", "dial tcp: i/o timeout")
	restarts.LastTerminationState, restarts.RestartCount = ranBefore.LastTerminationState, 1
	for name, tc := range map[string]struct {
		statuses []corev1.ContainerStatus
		events   []corev1.Event
		want     string
	}{
		"a permanent failure counts while the status says nothing": {
			[]corev1.ContainerStatus{prepulltest.Done("install", 1, 9), prepulltest.Waits("a", pulling, ""), prepulltest.Waits("b", pulling, "")}, fresh, "NotFound",
		},
		"also for the first container": {[]corev1.ContainerStatus{prepulltest.Waits("a", pulling, ""), prepulltest.Waits("b", pulling, "")}, fresh, "NotFound"},
		"without an event nothing fails": {
			[]corev1.ContainerStatus{prepulltest.Done("install", 1, 2), prepulltest.Waits("a", pulling, "")}, nil, "",
		},
		"another failure is tried again": {
			[]corev1.ContainerStatus{prepulltest.Done("install", 1, 2), prepulltest.Waits("a", pulling, "")}, timeouts(1), "",
		},
		"twice is enough": {
			[]corev1.ContainerStatus{prepulltest.Done("install", 1, 2), prepulltest.Waits("a", pulling, "")}, timeouts(2), "RegistryUnreachable",
		},
		"also if the status has come to the first one": {
			[]corev1.ContainerStatus{prepulltest.Done("install", 1, 2), prepulltest.Waits("a", "ErrImagePull", "dial tcp: i/o timeout")}, timeouts(2), "RegistryUnreachable",
		},
		"twice in different words, the last ones count": {
			[]corev1.ContainerStatus{prepulltest.Done("install", 1, 2), prepulltest.Waits("a", pulling, "")}, append(timeouts(1), fresh...), "RegistryUnreachable",
		},
		"once is a hiccup, also while the kubelet backs off": {
			[]corev1.ContainerStatus{prepulltest.Done("install", 1, 2), prepulltest.Waits("a", "ImagePullBackOff", "dial tcp: i/o timeout")}, timeouts(1), "",
		},
		"once as far as events tell, and they may not tell all": {
			[]corev1.ContainerStatus{
				prepulltest.Done("install", 1, 2), prepulltest.Done("b", 2, 3), prepulltest.Done("c", 3, 4), prepulltest.Done("d", 4, 5),
				prepulltest.Waits("a", "ImagePullBackOff", "dial tcp: i/o timeout"),
			}, timeouts(1), "RegistryUnreachable",
		},
		"twice while the kubelet backs off": {
			[]corev1.ContainerStatus{prepulltest.Done("install", 1, 2), prepulltest.Waits("a", "ImagePullBackOff", "dial tcp: i/o timeout")}, timeouts(2), "RegistryUnreachable",
		},
		"a back-off of which no event tells": {
			[]corev1.ContainerStatus{prepulltest.Done("install", 1, 2), prepulltest.Waits("a", "ImagePullBackOff", "dial tcp: i/o timeout")}, nil, "RegistryUnreachable",
		},
		"an older kubelet backs off without a word, and the event has them": {
			[]corev1.ContainerStatus{prepulltest.Done("install", 1, 2), prepulltest.Waits("a", "ImagePullBackOff", `Back-off pulling image "a:1"`)}, timeouts(2), "RegistryUnreachable",
		},
		"a permanent answer, while an older kubelet backs off": {
			[]corev1.ContainerStatus{prepulltest.Done("install", 1, 2), prepulltest.Waits("a", "ImagePullBackOff", `Back-off pulling image "a:1"`)}, fresh, "NotFound",
		},
		"an older kubelet backs off, and nobody has a word": {
			[]corev1.ContainerStatus{prepulltest.Done("install", 1, 2), prepulltest.Waits("a", "ImagePullBackOff", `Back-off pulling image "a:1"`)}, nil, "Other",
		},
		"a back-off of a container that ran before, and restarts": {[]corev1.ContainerStatus{restarts}, nil, "RegistryUnreachable"},
		"the node's own limit says nothing of the image": {
			[]corev1.ContainerStatus{prepulltest.Done("install", 1, 2), prepulltest.Waits("a", "ImagePullBackOff", "pull QPS exceeded")}, limits, "",
		},
		"the status wins when it says something else": {
			[]corev1.ContainerStatus{prepulltest.Done("install", 1, 2), prepulltest.Waits("a", "ImagePullBackOff", "dial tcp: i/o timeout")}, slices.Concat(fresh, fresh), "RegistryUnreachable",
		},
		"a container that runs does not fail": {
			[]corev1.ContainerStatus{prepulltest.Done("install", 1, 2), {Name: "a", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}, fresh, "",
		},
		"a container that has run in the meantime does not fail": {
			[]corev1.ContainerStatus{prepulltest.Done("install", 1, 2), prepulltest.Done("a", 12, 13), prepulltest.Waits("b", pulling, "")}, fresh, "",
		},
		"a pod that is through does not fail": {[]corev1.ContainerStatus{prepulltest.Done("install", 1, 2), prepulltest.Done("a", 12, 13)}, fresh, ""},
		"an event from before its turn is history": {
			[]corev1.ContainerStatus{prepulltest.Done("install", 9, 10), prepulltest.Waits("a", pulling, "")}, fresh, "",
		},
		"an event from before it last ran is history": {
			[]corev1.ContainerStatus{ranBefore}, []corev1.Event{failedEvent("uid", "a", saysNotFound, 5)}, "",
		},
		"an event from after it last ran counts": {[]corev1.ContainerStatus{ranBefore}, fresh, "NotFound"},
		"another container's event does not count": {
			[]corev1.ContainerStatus{prepulltest.Done("install", 1, 2), prepulltest.Waits("b", pulling, ""), prepulltest.Waits("a", pulling, "")}, fresh, "",
		},
		"another pod's event does not count": {
			[]corev1.ContainerStatus{prepulltest.Done("install", 1, 2), prepulltest.Waits("a", pulling, "")},
			[]corev1.Event{failedEvent("other", "a", saysNotFound, 9)}, "",
		},
		"an event about something else does not count": {
			[]corev1.ContainerStatus{prepulltest.Done("install", 1, 2), prepulltest.Waits("a", pulling, "")},
			[]corev1.Event{failedEvent("uid", "a", "Error: not found", 9)}, "",
		},
		"nothing is known of a pod without statuses": {nil, fresh, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pod := prepulltest.Pod("node-000", prepulltest.Noon, tc.statuses...)
			pod.UID = "uid"
			before := pod.DeepCopy()
			got := WithPullEvents(pod, PullEvents(tc.events))
			if diff := cmp.Diff(before, pod); diff != "" {
				t.Fatalf("an object of the cache was changed:\n%s", diff)
			}
			reason := ""
			for i := range got.Status.InitContainerStatuses {
				if f, failed := failureOf(&got.Status.InitContainerStatuses[i]); failed && f.Settled {
					reason = f.Reason
				}
			}
			if reason != tc.want {
				t.Errorf("the pod fails with %q, want %q", reason, tc.want)
			}
		})
	}
}

// What an event says is what the status says later, word for word: the condition of the image does not change again.
func TestAnEventSpeaksLikeTheStatus(t *testing.T) {
	t.Parallel()
	pod := prepulltest.Pod("node-000", prepulltest.Noon, prepulltest.Done("install", 1, 2), prepulltest.Waits("a", "PodInitializing", ""))
	pod.UID = "uid"
	early := WithPullEvents(pod, PullEvents([]corev1.Event{failedEvent("uid", "a", saysNotFound, 3)}))
	later := prepulltest.Waits("a", "ErrImagePull", "rpc error: code = NotFound desc = a:1: not found")
	want, _ := failureOf(&later)
	got, failed := failureOf(&early.Status.InitContainerStatuses[1])
	want.Tries = 1 // the status does not count
	if !failed || got != want || !got.Settled || got.Message != "a:1: not found" {
		t.Errorf("the event says %+v, the status %+v", got, want)
	}
}

func TestLastFailure(t *testing.T) {
	t.Parallel()
	old, last := failedEvent("uid", "a", saysTimeout, 1), failedEvent("uid", "a", saysNotFound, 2)
	twin := failedEvent("uid", "a", saysTimeout, 2)
	old.Count = 3
	for name, tc := range map[string]struct {
		events   []*corev1.Event
		since    int
		message  string
		failures int32
	}{
		"none":                                   {nil, 0, "", 0},
		"the last one speaks":                    {[]*corev1.Event{&old, &last}, 0, saysNotFound, 4},
		"in any order":                           {[]*corev1.Event{&last, &old}, 0, saysNotFound, 4},
		"of two at a time always the same":       {[]*corev1.Event{&last, &twin}, 0, saysNotFound, 2},
		"of two at a time, in any order":         {[]*corev1.Event{&twin, &last}, 0, saysNotFound, 2},
		"what was before does not count":         {[]*corev1.Event{&old, &last}, 2, saysNotFound, 1},
		"what was before does not speak":         {[]*corev1.Event{&last, &old}, 3, "", 0},
		"an event stands for as many as it says": {[]*corev1.Event{&old}, 0, saysTimeout, 3},
	} {
		message, failures := lastFailure(tc.events, prepulltest.Noon.Add(time.Duration(tc.since)*time.Second))
		if message != tc.message || failures != tc.failures {
			t.Errorf("%s: %d failures, the last %q", name, failures, message)
		}
	}
}
