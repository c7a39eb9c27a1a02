package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
	"github.com/kube-prepull/kube-prepull/prepull/warmth"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// TestNoImageIsLostAsLanesChange changes the number of lanes at any time, while images come and pods are slow: an image that a
// node keeps is kept at all times, and in the end each is in one lane.
func TestNoImageIsLostAsLanesChange(t *testing.T) {
	t.Parallel()
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			c := newChaos(seed)
			c.options.MaxImagesPerNode, c.options.MaxNodeClasses, c.slow = 50, 1, map[string]bool{}
			for i := range c.Nodes {
				c.Nodes[i] = prepulltest.Node(c.Nodes[i].Name, "amd64")
				c.Nodes[i].Status.NodeInfo = corev1.NodeSystemInfo{KubeletVersion: "v1.37.0", ContainerRuntimeVersion: "containerd://2.1.0"}
			}
			kept := map[string]bool{}
			for step := range 60 {
				switch c.IntN(5) {
				case 0:
					c.options.PullsPerNode = 1 + c.IntN(5)
				case 1:
					o := prepulltest.Learned(fmt.Sprintf("r.test/app%d:1", step), 1+c.IntN(5))
					o.Status.SizeBytes = c.Int64N(1 << 30)
					c.Images = append(c.Images, o)
				case 2:
					for _, pod := range c.Pods {
						c.slow[pod.Name] = c.IntN(3) == 0
					}
				}
				c.act(c.IntN(3) > 0, c.IntN(3) > 0)
				kept = c.stillKept(t, kept)
				c.seen = c.DaemonSets
				c.control()
				kept = c.stillKept(t, kept)
				c.kubelets()
			}
			c.slow = nil
			if !c.quiesce() {
				t.Fatal("not quiet")
			}
			c.stillKept(t, kept)
			c.check(t)
		})
	}
}

// stillKept checks that what nodes kept before is kept, and returns what is now.
func (c *chaos) stillKept(t *testing.T, before map[string]bool) map[string]bool {
	t.Helper()
	now := map[string]bool{}
	for _, pod := range c.Pods {
		for _, o := range c.Images {
			if warmth.Keeps(pod, o.Name) {
				now[pod.Spec.NodeName+" "+o.Name] = true
			}
		}
	}
	for _, is := range slices.Sorted(maps.Keys(before)) {
		if !now[is] {
			t.Fatalf("lost %s with %d pulls for each node", is, c.options.PullsPerNode)
		}
	}
	return now
}

// TestLanes shows the DaemonSets of a class.
func TestLanes(t *testing.T) {
	t.Parallel()
	o := testOptions
	o.PullsPerNode = 3
	s := State{Nodes: []corev1.Node{prepulltest.Node("n", "amd64")}}
	for i, size := range []int64{100, 90, 60, 50} {
		image := prepulltest.Learned(fmt.Sprintf("%c:1", 'a'+i), 1)
		image.Status.SizeBytes = size
		s.Images = append(s.Images, image)
	}
	p := Make(s, o, prepulltest.Noon)
	var got []string
	for _, ds := range p.Roll {
		line := ds.Name + " " + ds.Spec.Selector.MatchLabels["kube-prepull.io/lane"]
		for _, l := range ListOf(ds) {
			line += " " + l.Image
		}
		got = append(got, line)
	}
	want := []string{"kube-prepull-linux-amd64  a:1", "kube-prepull-linux-amd64-lane-2 2 b:1", "kube-prepull-linux-amd64-lane-3 3 d:1 c:1"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	s.carryOut(p)
	if again := shownPlan(Make(s, o, prepulltest.Noon)); again != "" {
		t.Errorf("written again: %s", again)
	}
	o.PullsPerNode = 8
	if p := Make(State{Nodes: s.Nodes, Images: s.Images}, o, prepulltest.Noon); len(p.Roll) != 4 {
		t.Errorf("%d DaemonSets for four images", len(p.Roll))
	}
}

// twoLanes is a cluster with a node that joins and an old one, and an image in each of two lanes. pod is one of a lane, counted from 0.
func twoLanes() (s State, o Options, pod func(node string, lane int, statuses ...corev1.ContainerStatus) *corev1.Pod) {
	o = warmingOptions()
	o.PullsPerNode = 2
	s = State{
		Nodes:  []corev1.Node{prepulltest.Node("new", "amd64"), prepulltest.Node("old", "amd64")},
		Images: []v1alpha1.PrepullImage{inUse("a:1"), inUse("b:1")},
	}
	s.carryOut(Make(s, o, prepulltest.Noon))
	return s, o, func(node string, lane int, statuses ...corev1.ContainerStatus) *corev1.Pod {
		p := prepulltest.Pod(node, prepulltest.Noon, statuses...)
		p.Labels = s.DaemonSets[lane].Spec.Template.Labels
		return p
	}
}

// withoutRoom makes a pod one that the scheduler finds no room for.
func withoutRoom(pod *corev1.Pod) *corev1.Pod {
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: "Insufficient cpu"}}
	return pod
}

// TestALaneThatIsStuckDoesNotEndTheWait has a node that joins fail on the image of one lane while it pulls that of the other.
func TestALaneThatIsStuckDoesNotEndTheWait(t *testing.T) {
	t.Parallel()
	s, o, pod := twoLanes()
	a, b, install := workload.ObjectName("a:1"), workload.ObjectName("b:1"), prepulltest.Done(warmth.InstallContainer, 0, 1)
	for _, tc := range []struct {
		is      corev1.ContainerStatus
		want    outlook
		present int
	}{
		{prepulltest.Waits(b, "PodInitializing", ""), outlookWaiting, 0},
		{prepulltest.Done(b, 2, 9), outlookStuck, 1},
	} {
		s.Pods = []*corev1.Pod{
			pod("old", 0, install, prepulltest.Done(a, 2, 3)), pod("old", 1, install, prepulltest.Done(b, 2, 3)),
			pod("new", 0, install, prepulltest.Waits(a, "ErrImagePull", "a:1: denied")), pod("new", 1, install, tc.is),
		}
		p := Make(s, o, prepulltest.Noon)
		got := newObserver(p.Classes[0], s.Pods, o, prepulltest.Noon).progress(&s.Nodes[0], true, prepulltest.Noon)
		if got.outlook != tc.want || got.present != tc.present || got.trouble != "a:1 cannot be pulled: access denied" {
			t.Errorf("got %v with %s, want %v", got.outlook, got.words(), tc.want)
		}
	}
}

// TestALaneWithoutRoomDoesNotEndTheWait has a node that joins with room for one pod only: the image that this one pulls is waited for.
func TestALaneWithoutRoomDoesNotEndTheWait(t *testing.T) {
	t.Parallel()
	s, o, pod := twoLanes()
	a, b, install := workload.ObjectName("a:1"), workload.ObjectName("b:1"), prepulltest.Done(warmth.InstallContainer, 0, 1)
	full := withoutRoom(pod("new", 1, prepulltest.Waits(warmth.InstallContainer, "PodInitializing", "")))
	later := prepulltest.Noon.Add(5 * time.Minute)
	for _, tc := range []struct {
		is   corev1.ContainerStatus
		want outlook
	}{
		{prepulltest.Waits(a, "PodInitializing", ""), outlookWaiting},
		{prepulltest.Done(a, 2, 9), outlookStuck},
	} {
		s.Pods = []*corev1.Pod{
			pod("old", 0, install, prepulltest.Done(a, 2, 3)), pod("old", 1, install, prepulltest.Done(b, 2, 3)), pod("new", 0, install, tc.is), full,
		}
		p := Make(s, o, later)
		got := newObserver(p.Classes[0], s.Pods, o, later).progress(&s.Nodes[0], true, later)
		if got.outlook != tc.want || !strings.Contains(got.trouble, "Insufficient cpu") {
			t.Errorf("got %v with %s, want %v", got.outlook, got.words(), tc.want)
		}
	}
}

// A node without room for the pod of another lane is not waited for as images move there: it would be for ever.
func TestAFullNodeKeepsNoImageInTwoLanes(t *testing.T) {
	t.Parallel()
	o := testOptions
	s := State{Nodes: prepulltest.Nodes(2), Images: []v1alpha1.PrepullImage{prepulltest.Learned("a:1", 1), prepulltest.Learned("b:1", 1)}}
	s.carryOut(Make(s, o, prepulltest.Noon))
	s.runPods(prepulltest.Noon, nothingFails)
	o.PullsPerNode = 2
	s.carryOut(Make(s, o, prepulltest.Noon))
	further := s.DaemonSet(daemonSetName("linux-amd64", 2)).Spec.Template.Labels
	moved := prepulltest.Pod(s.Nodes[0].Name, prepulltest.Noon, prepulltest.Done(warmth.InstallContainer, 0, 1), prepulltest.Done(workload.ObjectName("b:1"), 2, 3))
	other := prepulltest.Pod(s.Nodes[1].Name, prepulltest.Noon, prepulltest.Waits(warmth.InstallContainer, "PodInitializing", ""))
	moved.Labels, other.Labels = further, further
	s.Pods = append(s.Pods, moved, other)
	if p := Make(s, o, prepulltest.Noon); len(p.Roll) != 0 {
		t.Errorf("while a node pulls what moves: %s", shownPlan(p))
	}
	withoutRoom(other)
	if p := Make(s, o, prepulltest.Noon); len(p.Roll) != 1 || len(ListOf(p.Roll[0])) != 1 || ListOf(p.Roll[0])[0].Image != "a:1" {
		t.Errorf("once that node has no room: %s", shownPlan(p))
	}
}

// A class that has a further lane began long ago, whatever its first one is: it takes no place from one that begins.
func TestAClassWithAFurtherLaneDoesNotBegin(t *testing.T) {
	t.Parallel()
	o := testOptions
	o.PullsPerNode = 2
	var s State
	grow := func(pool string, nodes int, images ...string) {
		for i := range nodes {
			n := prepulltest.Node(fmt.Sprintf("%s-%d", pool, i), "amd64")
			n.Labels["pool"] = pool
			s.Nodes = append(s.Nodes, n)
		}
		for _, image := range images {
			learned := prepulltest.Learned(image, 1)
			learned.Status.Placements = []v1alpha1.Placement{{NodeSelector: map[string]string{"pool": pool}}}
			s.Images = append(s.Images, learned)
		}
	}
	grow("old", 8, "a:1", "b:1")
	s.carryOut(Make(s, o, prepulltest.Noon))
	s.drop(s.DaemonSets[0].Name)
	if len(s.DaemonSets) != 1 || laneNumber(&corev1.Pod{ObjectMeta: s.DaemonSets[0].Spec.Template.ObjectMeta}) != 2 {
		t.Fatalf("%d DaemonSets are left", len(s.DaemonSets))
	}
	grow("new", 5, "c:1")
	for _, cp := range Make(s, o, prepulltest.Noon.Add(time.Hour)).Classes {
		if cp.Nodes[0].Labels["pool"] == "new" && len(cp.List) != 1 {
			t.Errorf("%d nodes that begin get %d images at first, want 1", len(cp.Nodes), len(cp.List))
		}
	}
}

// TestAnImageMovesInTwoSteps adds a lane: what moves is in its list first, and leaves the former one only once each node keeps it
// there.
func TestAnImageMovesInTwoSteps(t *testing.T) {
	t.Parallel()
	o := testOptions
	s := State{Nodes: []corev1.Node{prepulltest.Node("n", "amd64")}, Images: []v1alpha1.PrepullImage{prepulltest.Learned("a:1", 1), prepulltest.Learned("b:1", 1)}}
	s.carryOut(Make(s, o, prepulltest.Noon))
	s.runPods(prepulltest.Noon, nothingFails)
	one := s.Pods[0]
	o.PullsPerNode = 2
	p := Make(s, o, prepulltest.Noon)
	if len(p.Roll) != 0 || len(p.UpdateInPlace) != 1 || len(ListOf(p.UpdateInPlace[0])) != 1 {
		t.Fatalf("first it does: %s", shownPlan(p))
	}
	s.carryOut(p)
	two := prepulltest.Pod("n", prepulltest.Noon, prepulltest.Done(warmth.InstallContainer, 0, 1), prepulltest.Waits(workload.ObjectName("b:1"), "PodInitializing", ""))
	two.Labels = p.UpdateInPlace[0].Spec.Template.Labels
	s.Pods = []*corev1.Pod{one, two}
	if again := Make(s, o, prepulltest.Noon); len(again.Roll)+len(again.UpdateInPlace) != 0 {
		t.Errorf("before the second pod has the image: %s", shownPlan(again))
	}
	two.Status.InitContainerStatuses[1] = prepulltest.Done(workload.ObjectName("b:1"), 2, 3)
	p = Make(s, o, prepulltest.Noon)
	if len(p.Roll) != 1 || p.Roll[0].Name != "kube-prepull-linux-amd64" || len(ListOf(p.Roll[0])) != 1 || ListOf(p.Roll[0])[0].Image != "a:1" {
		t.Errorf("then it does: %s", shownPlan(p))
	}
}

// Caches list pods in no order: whichever comes first, the plan is the same, or statuses would be written for ever.
func TestTheOrderOfPodsChangesNothing(t *testing.T) {
	t.Parallel()
	o := warmingOptions()
	o.PullsPerNode = 2
	s := State{Nodes: []corev1.Node{prepulltest.Node("n", "amd64")}, Images: []v1alpha1.PrepullImage{inUse("a:1"), inUse("b:1")}}
	s.carryOut(Make(s, o, prepulltest.Noon))
	for i, words := range []string{"read udp 10.0.0.1:41234: i/o timeout", "read udp 10.0.0.1:51234: i/o timeout"} {
		pod := prepulltest.Pod("n", prepulltest.Noon, prepulltest.Waits(warmth.InstallContainer, "ImagePullBackOff", words))
		pod.Name, pod.Labels = fmt.Sprint("pod-", i), s.DaemonSets[i].Spec.Template.Labels
		s.Pods = append(s.Pods, pod)
	}
	one := Make(s, o, prepulltest.Noon.Add(5*time.Minute))
	slices.Reverse(s.Pods)
	other := Make(s, o, prepulltest.Noon.Add(5*time.Minute))
	if len(one.Statuses) != 2 {
		t.Fatalf("%d statuses", len(one.Statuses))
	}
	if diff := cmp.Diff(one.Statuses, other.Statuses); diff != "" {
		t.Errorf("statuses (-one +other):\n%s", diff)
	}
}
