package warmth

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestPullsOf(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC)
	ended := func(name string, from, to int) corev1.ContainerStatus {
		return corev1.ContainerStatus{Name: name, State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
			StartedAt: metav1.NewTime(start.Add(time.Duration(from) * time.Second)), FinishedAt: metav1.NewTime(start.Add(time.Duration(to) * time.Second)),
		}}}
	}
	waits := func(name, reason, message string) corev1.ContainerStatus {
		return corev1.ContainerStatus{Name: name, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}}
	}
	const notFound = `Back-off pulling image "app:v1": ErrImagePull: rpc error: code = NotFound desc = not found`
	tests := map[string]struct {
		statuses []corev1.ContainerStatus
		events   []corev1.Event
		want     []Pull
		stuck    string
	}{
		"one is there, one is pulled and one waits": {
			statuses: []corev1.ContainerStatus{ended("install", 0, 1), ended("a", 21, 22), waits("b", "PodInitializing", ""), waits("c", "PodInitializing", "")},
			want:     []Pull{{Name: "a", State: PullDone, Took: 20 * time.Second}, {Name: "b", State: PullActive}, {Name: "c", State: PullQueued}},
		},
		"one fails": {
			statuses: []corev1.ContainerStatus{ended("install", 0, 1), waits("a", "ImagePullBackOff", notFound), waits("b", "PodInitializing", "")},
			want:     []Pull{{Name: "a", State: PullFailed, Reason: "NotFound", Message: "not found"}, {Name: "b", State: PullQueued}},
		},
		"an event tells before the status": {
			statuses: []corev1.ContainerStatus{ended("install", 0, 1), waits("a", "PodInitializing", "")},
			events: []corev1.Event{{
				InvolvedObject: corev1.ObjectReference{UID: "u", FieldPath: "spec.initContainers{a}"}, LastTimestamp: metav1.NewTime(start.Add(5 * time.Second)),
				Message: `Failed to pull image "app:v1": rpc error: code = NotFound desc = not found`,
			}},
			want: []Pull{{Name: "a", State: PullFailed, Reason: "NotFound", Message: "not found"}},
		},
		"noop cannot be pulled": {
			statuses: []corev1.ContainerStatus{waits("install", "ImagePullBackOff", notFound), waits("a", "PodInitializing", "")},
			want:     []Pull{{Name: "a", State: PullQueued}},
			stuck:    "not found",
		},
		"a pod without a node": {},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "u"}, Status: corev1.PodStatus{InitContainerStatuses: test.statuses}}
			got, stuck := PullsOf(pod, FailedPullsIn(test.events), func(string) bool { return false })
			if diff := cmp.Diff(test.want, got); diff != "" || stuck != test.stuck {
				t.Errorf("stuck %q, want %q (-want +got):\n%s", stuck, test.stuck, diff)
			}
		})
	}
}
