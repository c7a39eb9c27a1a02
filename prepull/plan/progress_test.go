package plan

import (
	"testing"
	"time"

	"github.com/kube-prepull/kube-prepull/prepull/warmth"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

func TestProgressOfANode(t *testing.T) {
	t.Parallel()
	a, b, c := workload.ObjectName("a:1"), workload.ObjectName("b:1"), workload.ObjectName("c:1")
	const pulling = "PodInitializing"
	ok := []corev1.ContainerStatus{prepulltest.Done("install", 0, 1)}
	list := func(statuses ...corev1.ContainerStatus) []corev1.ContainerStatus {
		return append(ok[:1:1], statuses...)
	}
	later := prepulltest.Noon.Add(2 * time.Minute)
	for name, tc := range map[string]struct {
		statuses []corev1.ContainerStatus
		edit     func(*corev1.Node)
		at       time.Time
		outlook  outlook
		words    string
	}{
		"without a prepull pod": {nil, nil, prepulltest.Noon, outlookWaiting, "0 of 2 images, 0 pulling"},
		"at its first image": {
			list(prepulltest.Waits(a, pulling, ""), prepulltest.Waits(b, pulling, ""), prepulltest.Waits(c, pulling, "")), nil, prepulltest.Noon, outlookWaiting, "0 of 2 images, 1 pulling",
		},
		"at its second image": {list(prepulltest.Done(a, 2, 3), prepulltest.Waits(b, pulling, ""), prepulltest.Waits(c, pulling, "")), nil, prepulltest.Noon, outlookWaiting, "1 of 2 images, 1 pulling"},
		"at an optional one":  {list(prepulltest.Done(a, 2, 3), prepulltest.Done(b, 4, 5), prepulltest.Waits(c, pulling, "")), nil, prepulltest.Noon, outlookWarm, "2 of 2 images"},
		"before it is Ready": {
			list(prepulltest.Done(a, 2, 3), prepulltest.Done(b, 4, 5), prepulltest.Waits(c, pulling, "")),
			func(n *corev1.Node) { n.Status.Conditions[0].Status = corev1.ConditionFalse }, prepulltest.Noon, outlookWarm, "2 of 2 images",
		},
		"with images that it was born with": {nil, func(n *corev1.Node) {
			n.Status.Images = []corev1.ContainerImage{{Names: []string{"docker.io/library/a:1"}}, {Names: []string{"docker.io/library/b:1"}}}
		}, prepulltest.Noon, outlookWarm, "2 of 2 images"},
		"before it has its labels": {list(prepulltest.Done(a, 2, 3), prepulltest.Done(b, 4, 5)), func(n *corev1.Node) {
			n.Spec.Taints = []corev1.Taint{{Key: "node.cloudprovider.kubernetes.io/uninitialized", Effect: corev1.TaintEffectNoSchedule}}
		}, prepulltest.Noon, outlookUnknown, "0 of 2 images, 0 pulling"},
		"with a final answer on its first image": {
			list(prepulltest.Waits(a, "ErrImagePull", "a:1: denied"), prepulltest.Waits(b, pulling, ""), prepulltest.Waits(c, pulling, "")), nil, prepulltest.Noon,
			outlookStuck, "0 of 2 images, 0 pulling; a:1 cannot be pulled: access denied",
		},
		"with trouble that may pass": {
			list(prepulltest.Done(a, 2, 3), prepulltest.Waits(b, "ImagePullBackOff", "connection refused"), prepulltest.Waits(c, pulling, "")), nil, prepulltest.Noon.Add(30 * time.Second),
			outlookWaiting, "1 of 2 images, 0 pulling; b:1 cannot be pulled: registry unreachable",
		},
		"with trouble that does not pass": {
			list(prepulltest.Done(a, 2, 3), prepulltest.Waits(b, "ImagePullBackOff", "connection refused"), prepulltest.Waits(c, pulling, "")), nil, later,
			outlookStuck, "1 of 2 images, 0 pulling; b:1 cannot be pulled: registry unreachable",
		},
		"with a first failure after a long pull": {
			list(prepulltest.Done(a, 2, 3), prepulltest.Waits(b, "ErrImagePull", "connection refused"), prepulltest.Waits(c, pulling, "")), nil, later,
			outlookWaiting, "1 of 2 images, 0 pulling; b:1 cannot be pulled: registry unreachable",
		},
		"whose prepull pod does not get to its images": {
			[]corev1.ContainerStatus{prepulltest.Waits("install", "ErrImagePull", "noop: not found"), prepulltest.Waits(a, pulling, "")}, nil, prepulltest.Noon,
			outlookStuck, "0 of 2 images, 0 pulling; the prepull pod fails: noop: not found",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// Other nodes have all images, so that this one is to blame for what fails.
			s := State{Nodes: prepulltest.Nodes(4), Images: []v1alpha1.PrepullImage{inUse("a:1"), inUse("b:1"), prepulltest.Learned("c:1", 1)}}
			s.carryOut(Make(s, warmingOptions(), prepulltest.Noon))
			s.runPods(prepulltest.Noon, nothingFails)
			s.Pods = s.Pods[1:]
			if tc.statuses != nil {
				s.Pods = append(s.Pods, prepulltest.Pod("node-000", prepulltest.Noon, tc.statuses...))
			}
			if tc.edit != nil {
				tc.edit(&s.Nodes[0])
			}
			cp := Make(s, warmingOptions(), tc.at).Classes[0]
			got := newObserver(cp, s.Pods, warmingOptions(), tc.at).progress(&s.Nodes[0], true, tc.at)
			if !got.until.IsZero() && got.until.Before(tc.at) {
				t.Errorf("somebody is to look again at %v, before now", got.until)
			}
			if got.outlook != tc.outlook || got.words() != tc.words {
				t.Errorf("outlook %v, %q; want %v, %q", got.outlook, got.words(), tc.outlook, tc.words)
			}
		})
	}
}

// Whatever the clock of a node says, trouble counts after the same time.
func TestProgressOfANodeWhoseClockIsWrong(t *testing.T) {
	t.Parallel()
	for _, off := range []time.Duration{-time.Hour, time.Hour} {
		for after, want := range map[time.Duration]outlook{30 * time.Second: outlookWaiting, 2 * time.Minute: outlookStuck} {
			s := State{Nodes: prepulltest.Nodes(4), Images: []v1alpha1.PrepullImage{inUse("a:1"), inUse("b:1")}}
			s.carryOut(Make(s, warmingOptions(), prepulltest.Noon))
			s.runPods(prepulltest.Noon, nothingFails)
			pod := prepulltest.Pod("node-000", prepulltest.Noon, prepulltest.Done("install", 0, 1), prepulltest.Done(workload.ObjectName("a:1"), 2, 3), prepulltest.Waits(workload.ObjectName("b:1"), "ImagePullBackOff", "connection refused"))
			pod.Status.StartTime = &metav1.Time{Time: prepulltest.Noon.Add(off)}
			for i := range pod.Status.InitContainerStatuses[:2] {
				ended := pod.Status.InitContainerStatuses[i].State.Terminated
				ended.StartedAt, ended.FinishedAt = metav1.NewTime(ended.StartedAt.Add(off)), metav1.NewTime(ended.FinishedAt.Add(off))
			}
			s.Pods = append(s.Pods[1:], pod)
			now := prepulltest.Noon.Add(after)
			cp := Make(s, warmingOptions(), now).Classes[0]
			if got := newObserver(cp, s.Pods, warmingOptions(), now).progress(&s.Nodes[0], true, now); got.outlook != want {
				t.Errorf("a clock off by %v, after %v of trouble: %v, %q; want %v", off, after, got.outlook, got.words(), want)
			}
		}
	}
}

// An image that leaves the list, or goes to its end, is soon out of the way: a node does not go without the others for it.
// But if lists change rarely, because many images fail, it is not to be held for long.
func TestAnImageThatLeavesTheListHoldsANodeForAMinute(t *testing.T) {
	t.Parallel()
	broken := inUse("broken:1")
	broken.Status.Starts = prepulltest.Learned("", 100).Status.Starts // so it comes first
	for name, pods := range map[string]int{"it leaves": 3, "it goes to the end": 6} {
		s := State{Nodes: prepulltest.Nodes(6), Images: []v1alpha1.PrepullImage{broken, inUse("a:1")}}
		s.carryOut(Make(s, warmingOptions(), prepulltest.Noon))
		s.runPods(prepulltest.Noon, func(node, image string) string {
			if image == "broken:1" && node < "node-003" {
				return "not found"
			}
			return ""
		})
		s.Pods = s.Pods[:pods]
		for after, want := range map[time.Duration]outlook{0: outlookWaiting, warmth.TroubleTime + time.Second: outlookStuck} {
			at := prepulltest.Noon.Add(after)
			cp := Make(s, warmingOptions(), at).Classes[0]
			got := newObserver(cp, s.Pods, warmingOptions(), at).progress(&s.Nodes[0], false, at)
			if got.outlook != want || got.images != 1 || want == outlookWaiting && !got.until.Equal(prepulltest.Noon.Add(warmth.TroubleTime+time.Second)) {
				t.Errorf("%s, after %v: outlook %v with %d images until %v, want %v", name, after, got.outlook, got.images, got.until, want)
			}
		}
	}
}
