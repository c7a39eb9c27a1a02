package warmth

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
)

// TestPackedTimesTellTheSame holds that a pod whose times are packed tells what it told before, however far it is and whatever the
// clock of its node says.
func TestPackedTimesTellTheSame(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		pod := randomPod(random)
		packed := pod.DeepCopy()
		packed.Annotations = map[string]string{AnnotationTimes: PackTimes(pod)}
		for i := range packed.Status.InitContainerStatuses {
			if s := &packed.Status.InitContainerStatuses[i]; RanWell(s) {
				s.State.Terminated.StartedAt, s.State.Terminated.FinishedAt = metav1.Time{}, metav1.Time{}
			}
		}
		listed := func(string) bool { return false }
		want, _ := PullsOf(pod, nil, listed)
		got, _ := PullsOf(packed, nil, listed)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("pulls (-as stored +packed):\n%s", diff)
		}
		if diff := cmp.Diff(warmthOf(pod), warmthOf(packed), cmp.AllowUnexported(Warmth{}, Image{})); diff != "" {
			t.Fatalf("warmth (-as stored +packed):\n%s", diff)
		}
		for count := range pod.Status.InitContainerStatuses {
			if !RanWell(&pod.Status.InitContainerStatuses[count]) {
				break
			}
			if a, b := endBefore(pod, count), endBefore(packed, count); !a.Equal(b) {
				t.Fatalf("the end of the first %d is %v, as stored %v", count, b, a)
			}
		}
	}
}

// randomPod has up to five init containers. The node's clock may be wrong, and start times may be missing.
func randomPod(random *rand.Rand) *corev1.Pod {
	var statuses []corev1.ContainerStatus
	at := random.IntN(7200) - 3600
	for i := range random.IntN(6) {
		next := at + random.IntN(300) - 2
		s := prepulltest.Done(fmt.Sprint("image-", i), next, next+random.IntN(3))
		switch random.IntN(6) {
		case 0:
			s = prepulltest.Waits(s.Name, "PodInitializing", "")
		case 1:
			s.State.Terminated.StartedAt, s.State.Terminated.FinishedAt = metav1.Time{}, metav1.Time{}
		}
		statuses, at = append(statuses, s), next
	}
	pod := prepulltest.Pod("a", prepulltest.Noon, statuses...)
	if random.IntN(4) == 0 {
		pod.Status.StartTime = nil
	}
	return pod
}

func warmthOf(pod *corev1.Pod) *Warmth {
	node := prepulltest.Node("a", "amd64")
	var names []ImageName
	for i := range 6 {
		names = append(names, ImageName{Name: fmt.Sprint("image-", i), Canonical: fmt.Sprint("image-", i)})
	}
	return Observe([]*corev1.Node{&node}, names, []*corev1.Pod{pod}, time.Hour, prepulltest.Noon.Add(10*time.Minute))
}

func TestPackedTimesAreFewBytes(t *testing.T) {
	t.Parallel()
	var statuses []corev1.ContainerStatus
	for i := range 50 {
		statuses = append(statuses, prepulltest.Done(fmt.Sprint("image-", i), 60*i, 60*i+1))
	}
	if packed := PackTimes(prepulltest.Pod("a", prepulltest.Noon, statuses...)); len(packed) > 50*3 {
		t.Errorf("%d bytes", len(packed))
	}
}
