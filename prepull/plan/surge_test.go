package plan

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
	"github.com/kube-prepull/kube-prepull/prepull/warmth"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

func TestSurge(t *testing.T) {
	t.Parallel()
	images := []string{"new:1", "a:1", "b:1"}
	ready := func(pod *corev1.Pod) *corev1.Pod {
		pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		return pod
	}
	// upTo is a pod that has run so many of the images, and is at the next one.
	upTo := func(node string, done int, images ...string) *corev1.Pod {
		statuses := []corev1.ContainerStatus{prepulltest.Done(warmth.InstallContainer, 0, 1)}
		for i, image := range images {
			s := prepulltest.Done(workload.ObjectName(image), 1, 2)
			if i >= done {
				s = prepulltest.Waits(workload.ObjectName(image), "PodInitializing", "")
			}
			statuses = append(statuses, s)
		}
		return prepulltest.Pod(node, prepulltest.Noon, statuses...)
	}
	former := func(node string) *corev1.Pod { return ready(upTo(node, 2, "a:1", "b:1")) }
	full := func(node string) *corev1.Pod {
		pod := upTo(node, 0, images...)
		pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable}}
		return pod
	}
	skipped := upTo("n1", 1, images...)
	gone := former("n1")
	gone.Annotations = map[string]string{"skipped.kube-prepull.io/" + workload.ObjectName("b:1"): "2026-11-23T12:00:00Z NotFound not found"}
	leaving := upTo("n1", 1, images...)
	leaving.DeletionTimestamp = &leaving.CreationTimestamp
	pair := func(n int, next func(node string) *corev1.Pod) []*corev1.Pod {
		var pods []*corev1.Pod
		for i := range n {
			node := fmt.Sprint("n", i)
			pods = append(pods, former(node), next(node))
		}
		return pods
	}
	has := func(done int) func(string) *corev1.Pod {
		return func(node string) *corev1.Pod { return upTo(node, done, images...) }
	}
	for name, tc := range map[string]struct {
		pods   []*corev1.Pod
		was    int32
		change listChange
		want   string
	}{
		"no pods":                                 {nil, 0, changedList, "10%"},
		"they pull what is new":                   {pair(5, has(0)), 0, changedNothing, "10%"},
		"fewer have it than may pull":             {pair(1, has(1)), 0, changedNothing, "10%"},
		"as many have it as may pull":             {pair(2, has(1)), 0, changedNothing, "4"},
		"and one more":                            {pair(3, has(2)), 0, changedNothing, "4"},
		"twice as many":                           {pair(4, has(1)), 0, changedNothing, "6"},
		"nearly half of them without room":        {pair(24, full), 25, changedNothing, "26"},
		"they have all":                           {pair(4, has(3)), 0, changedNothing, "10%"},
		"no room":                                 {pair(1, full), 0, changedNothing, "3"},
		"what the former pod went without is new": {[]*corev1.Pod{gone, skipped, former("n2"), upTo("n2", 1, images...)}, 0, changedNothing, "10%"},
		"a pod that leaves does not count":        {append(pair(1, has(1)), former("n9"), leaving), 0, changedNothing, "10%"},
		"nodes with one pod":                      {[]*corev1.Pod{upTo("n1", 1, images...), upTo("n2", 1, images...)}, 0, changedNothing, "10%"},
		"it does not become less during a roll":   {pair(1, has(1)), 6, changedNothing, "6"},
		"with another list all pull again":        {pair(4, has(1)), 0, changedList, "10%"},
		"but after it":                            {nil, 6, changedNothing, "10%"},
		"another list begins anew":                {pair(1, has(1)), 6, changedList, "10%"},
		"twice as many may pull now":              {pair(1, has(0)), 1, changedNothing, "10%"},
		"what is done keeps it":                   {nil, 1, changedNothing, "1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stored := testDaemonSet(testOptions, images...)
			stored.Spec.UpdateStrategy.RollingUpdate.MaxSurge = ptr.To(intstr.FromString("10%"))
			if tc.was > 0 {
				stored.Spec.UpdateStrategy.RollingUpdate.MaxSurge = ptr.To(intstr.FromInt32(tc.was))
			}
			r := &rollout{lane: &lane{stored: stored, pods: tc.pods}, concurrent: 2}
			if tc.pods != nil {
				r.state = rolling
			}
			got := r.surge(tc.change, intstr.FromString("10%"))
			if got.String() != tc.want {
				t.Errorf("the surge is %s, want %s", got.String(), tc.want)
			}
		})
	}
}

func TestAnImageThatIsAlwaysPulledIsNew(t *testing.T) {
	t.Parallel()
	list := []Listed{{Name: "a"}, {Name: "b"}}
	former := prepulltest.Pod("n", prepulltest.Noon, prepulltest.Done(warmth.InstallContainer, 0, 1), prepulltest.Done("a", 1, 2), prepulltest.Done("b", 1, 2))
	former.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	next := prepulltest.Pod("n", prepulltest.Noon, prepulltest.Done(warmth.InstallContainer, 0, 1), prepulltest.Done("a", 1, 2), prepulltest.Waits("b", "PodInitializing", ""))
	if !pullsNothingNew(former, next, list) {
		t.Error("an image that is there is new")
	}
	list[1].always = true
	if pullsNothingNew(former, next, list) {
		t.Error("one that is always pulled is not")
	}
}
