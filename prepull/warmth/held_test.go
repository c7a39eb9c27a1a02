package warmth

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// holding is a pod of node-000 that holds images, whose init containers have ended, and whose waiting container waits for a reason.
func holding(reason, message string, images ...string) *corev1.Pod {
	pod := prepulltest.Pod("node-000", prepulltest.Noon, prepulltest.Done(InstallContainer, 0, 1))
	for _, image := range images {
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: workload.ObjectName(image), VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: image}}})
	}
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{prepulltest.Waits(WaitContainer, reason, message)}
	return pod
}

func TestWhatAWaitingContainerProves(t *testing.T) {
	t.Parallel()
	images := []string{"a:1", "b", "r.test/c:1"}
	var many []string // more than events tell of
	for i := range 9 {
		many = append(many, fmt.Sprintf("first-%d:1", i))
	}
	for name, tc := range map[string]struct {
		reason, message       string
		there, failed, broken string
	}{
		"it starts":                          {"PodInitializing", "", "a:1 b r.test/c:1", "", ""},
		"the first one fails":                {"ErrImagePull", `Failed to pull image "a:1": not found`, "b r.test/c:1", "a:1", ""},
		"what comes before may fail, too":    {"ImagePullBackOff", `Back-off pulling image "r.test/c:1": not found`, "", "r.test/c:1", ""},
		"in the runtime's words":             {"ErrImagePull", `failed to pull and unpack image "docker.io/library/a:1": not found`, "b r.test/c:1", "a:1", ""},
		"with the tag that a kubelet adds":   {"ImagePullBackOff", `Back-off pulling image "b:latest"`, "r.test/c:1", "b", ""},
		"a registry that is unavailable":     {"RegistryUnavailable", "image pull failed for a:1 because the registry is unavailable", "b r.test/c:1", "a:1", ""},
		"a signature":                        {"SignatureValidationFailed", "image pull failed for b:latest because the signature validation failed", "r.test/c:1", "b", ""},
		"no image is named":                  {"CreateContainerError", "mounting failed", "", "", "mounting failed"},
		"one that is named in a longer name": {"ErrImagePull", `Failed to pull image "other.test/a:1": not found`, "", "", "not found"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pod := holding(tc.reason, tc.message, append(slices.Clone(many), images...)...)
			w := Observe(pointers(prepulltest.Nodes(1)), namedImages(t, images...), []*corev1.Pod{pod}, time.Hour, prepulltest.Noon.Add(time.Minute))
			var there, failed []string
			for _, image := range images {
				i := w.Images[workload.ObjectName(image)]
				if i.Has("node-000") {
					there = append(there, image)
				}
				if f, fails := i.Failed["node-000"]; fails {
					failed = append(failed, image)
					if !f.Alone {
						t.Errorf("%s is in the way of others", image)
					}
				}
			}
			if got := strings.Join(there, " "); got != tc.there {
				t.Errorf("there are %q, want %q", got, tc.there)
			}
			if got := strings.Join(failed, " "); got != tc.failed {
				t.Errorf("%q fail, want %q", got, tc.failed)
			}
			if got := w.Broken["node-000"].Message; got != tc.broken {
				t.Errorf("the node is broken: %q, want %q", got, tc.broken)
			}
			if waits := WaitsForHeld(pod); waits != (tc.reason != "PodInitializing") {
				t.Errorf("it waits for what it holds: %v", waits)
			}
		})
	}
}

// Of few images events tell all that fail.
func TestWhatComesBeforeOneOfFewImages(t *testing.T) {
	t.Parallel()
	images := []string{"a:1", "b:1", "c:1"}
	pod := holding("ImagePullBackOff", `Back-off pulling image "c:1": not found`, images...)
	failed := PullEvents([]corev1.Event{{
		InvolvedObject: corev1.ObjectReference{UID: pod.UID}, Message: `Failed to pull image "a:1": not found`, Count: 1, LastTimestamp: pod.CreationTimestamp,
	}})
	w := Observe(pointers(prepulltest.Nodes(1)), namedImages(t, images...), []*corev1.Pod{WithPullEvents(pod, failed)}, time.Hour, prepulltest.Noon.Add(time.Minute))
	for image, want := range map[string]bool{"a:1": false, "b:1": true, "c:1": false} {
		if got := w.Images[workload.ObjectName(image)].Has("node-000"); got != want {
			t.Errorf("%s is there: %v", image, got)
		}
	}
}

func TestAHeldImageWhoseRegistryHangs(t *testing.T) {
	t.Parallel()
	images := []string{"a:1", "b:1", "c:1"}
	pod := holding("PodInitializing", "", images...)
	pod.Status.InitContainerStatuses = []corev1.ContainerStatus{prepulltest.Waits(InstallContainer, "PodInitializing", "")}
	nodes := prepulltest.Nodes(1)
	nodes[0].Status.Images = []corev1.ContainerImage{{Names: []string{"docker.io/library/a:1"}}}
	for _, tc := range []struct {
		after time.Duration
		fails bool
	}{{29 * time.Minute, false}, {30 * time.Minute, true}} {
		w := Observe(pointers(nodes), namedImages(t, images...), []*corev1.Pod{pod}, 15*time.Minute, prepulltest.Noon.Add(tc.after))
		b := w.Images[workload.ObjectName("b:1")]
		f, fails := b.Failed["node-000"]
		if fails != tc.fails || b.Pulling["node-000"] == tc.fails || f.Alone {
			t.Errorf("after %s it fails: %v, and is pulled: %v", tc.after, fails, b.Pulling)
		}
		if due := prepulltest.Noon.Add(30 * time.Minute); !tc.fails && !w.Next.Equal(due) {
			t.Errorf("the next look is at %s, want %s", w.Next, due)
		}
	}
}

// A node with no room for the next pod keeps the former one, and says nothing about what is new.
func TestANodeWithoutRoomProvesNothing(t *testing.T) {
	t.Parallel()
	ready := []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	nodes := prepulltest.Nodes(2)
	former := prepulltest.Pod("node-000", prepulltest.Noon, prepulltest.Done(InstallContainer, 0, 1))
	former.Status.Conditions = ready
	next := prepulltest.Pod("node-000", prepulltest.Noon)
	next.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable}}
	other := prepulltest.Pod("node-001", prepulltest.Noon, prepulltest.Done(InstallContainer, 0, 1), prepulltest.Done(workload.ObjectName("a:1"), 1, 2))
	other.Status.Conditions = ready
	for _, pods := range [][]*corev1.Pod{{former, next, other}, {next, former, other}} {
		w := Observe(pointers(nodes), namedImages(t, "a:1"), slices.Clone(pods), time.Hour, prepulltest.Noon)
		if !w.Images[workload.ObjectName("a:1")].Proven() {
			t.Error("a node with no room keeps an image from being proven")
		}
	}
}

// A node that has one of two prepull pods ready says nothing yet about images that the other one brings.
func TestANodeSettlesInAllLanes(t *testing.T) {
	t.Parallel()
	nodes := prepulltest.Nodes(1)
	pod := func(lane string, ready corev1.ConditionStatus) *corev1.Pod {
		p := prepulltest.Pod("node-000", prepulltest.Noon)
		p.Labels = map[string]string{"kube-prepull.io/lane": lane}
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}
		return p
	}
	leaving := pod("3", corev1.ConditionFalse)
	leaving.DeletionTimestamp = &metav1.Time{Time: prepulltest.Noon}
	for name, tc := range map[string]struct {
		pods []*corev1.Pod
		want bool
	}{
		"no pod":                          {nil, false},
		"one of two":                      {[]*corev1.Pod{pod("", corev1.ConditionTrue), pod("2", corev1.ConditionFalse)}, false},
		"both":                            {[]*corev1.Pod{pod("", corev1.ConditionTrue), pod("2", corev1.ConditionTrue)}, true},
		"both, and one is to be replaced": {[]*corev1.Pod{pod("", corev1.ConditionTrue), pod("2", corev1.ConditionTrue), pod("2", corev1.ConditionFalse)}, true},
		"one, and a lane that goes":       {[]*corev1.Pod{pod("", corev1.ConditionTrue), leaving}, true},
	} {
		if got := Observe(pointers(nodes), nil, tc.pods, time.Hour, prepulltest.Noon).Settled(0); got != tc.want {
			t.Errorf("%s: settled is %v", name, got)
		}
	}
}
