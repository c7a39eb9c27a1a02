package plan

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
	"github.com/kube-prepull/kube-prepull/prepull/warmth"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

func mirroringOptions() Options {
	o := testOptions
	o.Mirror = Mirror{Namespace: "spegel", PodSelector: map[string]string{"app": "spegel"}, Deadline: 2 * time.Minute}
	return o
}

// mirroring are nodes in two zones, with prepull pods that wait for their mirrors.
func mirroring(nodes int, images ...string) State {
	s := State{Nodes: prepulltest.Nodes(nodes), Mirrored: map[string]bool{}}
	for i := range s.Nodes {
		s.Nodes[i].Labels[corev1.LabelTopologyZone] = fmt.Sprint("zone-", i%2)
		s.Mirrored[s.Nodes[i].Name] = true
	}
	for _, image := range images {
		s.Images = append(s.Images, prepulltest.Learned(image, 1))
	}
	s.carryOut(Make(s, mirroringOptions(), prepulltest.Noon))
	ds := s.DaemonSets[0]
	for i := range s.Nodes {
		pod := prepulltest.Pod(s.Nodes[i].Name, prepulltest.Noon)
		pod.Labels, pod.Spec.SchedulingGates = ds.Spec.Template.Labels, ds.Spec.Template.Spec.SchedulingGates
		pod.Status = corev1.PodStatus{}
		s.Pods = append(s.Pods, pod)
	}
	return s
}

// begin lets the pod of a node start, as far as an image.
func (s *State) begin(node string, statuses ...corev1.ContainerStatus) {
	for i, pod := range s.Pods {
		if pod.Spec.NodeName == node {
			pod = pod.DeepCopy()
			pod.Spec.SchedulingGates = nil
			pod.Status.InitContainerStatuses = append([]corev1.ContainerStatus{prepulltest.Done(warmth.InstallContainer, 0, 1)}, statuses...)
			s.Pods[i] = pod
		}
	}
}

func ungated(p Plan) string {
	var nodes []string
	for _, pod := range p.Ungate {
		nodes = append(nodes, strings.TrimPrefix(warmth.NodeOf(pod), "node-"))
	}
	return strings.Join(nodes, " ")
}

func TestWhichPrepullPodsWaitForAMirror(t *testing.T) {
	t.Parallel()
	a := workload.ObjectName("a:1")
	at := func(reason, message string) corev1.ContainerStatus { return prepulltest.Waits(a, reason, message) }
	for name, tc := range map[string]struct {
		change func(*State)
		after  time.Duration
		off    bool
		want   string
	}{
		"one of each zone goes first":                {func(*State) {}, time.Second, false, "000 001"},
		"no mirror is ready":                         {func(s *State) { s.Mirrored = nil }, time.Second, false, ""},
		"the mirror of one is":                       {func(s *State) { s.Mirrored = map[string]bool{"node-003": true} }, time.Second, false, "003"},
		"while it pulls the others of its zone wait": {func(s *State) { s.begin("node-000", at("PodInitializing", "")) }, time.Second, false, "001"},
		"then they all go":                           {func(s *State) { s.begin("node-000", prepulltest.Done(a, 2, 9)) }, time.Second, false, "001 002 004"},
		"somebody else brought it to the zone": {func(s *State) {
			s.Nodes[4].Status.Images = []corev1.ContainerImage{{Names: []string{"docker.io/library/a:1"}}}
		}, time.Second, false, "000 001 002 004"},
		"the first has no room, and the next one goes": {func(s *State) {
			s.begin("node-000")
			for i, pod := range s.Pods {
				if warmth.NodeOf(pod) == "node-000" {
					s.Pods[i].Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: "0/1 nodes are available: 1 Too many pods."}}
				}
			}
		}, time.Second, false, "001 002"},
		"the kubelet of the first is gone, and the next one goes": {func(s *State) {
			s.begin("node-000", at("PodInitializing", ""))
			s.Nodes[0].Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionUnknown}}
		}, time.Second, false, "001 002"},
		"the first fails, and the next one goes": {func(s *State) { s.begin("node-000", at("ErrImagePull", "connection refused")) }, time.Second, false, "001 002"},
		"without zones nobody waits for another": {func(s *State) {
			for i := range s.Nodes {
				delete(s.Nodes[i].Labels, corev1.LabelTopologyZone)
			}
		}, time.Second, false, "000 001 002 003 004 005"},
		"the time of all is over": {func(s *State) { s.Mirrored = nil }, 2 * time.Minute, false, "000 001 002 003 004 005"},
		"it is switched off":      {func(s *State) { s.Mirrored = nil }, time.Second, true, "000 001 002 003 004 005"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := mirroring(6, "a:1")
			tc.change(&s)
			o := mirroringOptions()
			if tc.off {
				o.Mirror = Mirror{}
			}
			p := Make(s, o, prepulltest.Noon.Add(tc.after))
			if got := ungated(p); got != tc.want {
				t.Errorf("%q start, want %q", got, tc.want)
			}
			if len(p.Ungate) < len(s.Pods) && p.Next.IsZero() {
				t.Error("nobody looks again")
			}
		})
	}
}

// A pod that is stuck does not get to what is behind.
func TestWhatIsBehindAnImageThatFailsIsNotOnItsWay(t *testing.T) {
	t.Parallel()
	s := mirroring(3, "a:1", "b:1")
	list := ListOf(s.DaemonSets[0])
	s.begin("node-000", prepulltest.Waits(list[0].Name, "ErrImagePull", "connection refused"), prepulltest.Waits(list[1].Name, "PodInitializing", ""))
	if got := ungated(Make(s, mirroringOptions(), prepulltest.Noon.Add(time.Second))); got != "001 002" {
		t.Errorf("%q start", got)
	}
}

// Pods that pull nothing wait for no mirror: those of an empty list, and those of nodes that have all.
func TestPodsThatPullNothingDoNotWait(t *testing.T) {
	t.Parallel()
	o := mirroringOptions()
	o.MaxConcurrentNodes.IntVal = 2
	s := mirroring(6, "a:1")
	s.Mirrored = nil
	for i := range s.Nodes {
		s.Nodes[i].Status.Images = []corev1.ContainerImage{{Names: []string{"docker.io/library/a:1"}}}
	}
	if got := ungated(Make(s, o, prepulltest.Noon.Add(time.Second))); got != "000 001 002 003 004 005" {
		t.Errorf("of nodes that have all %q start", got)
	}
	empty := State{Nodes: prepulltest.Nodes(6), Images: []v1alpha1.PrepullImage{prepulltest.Learned("a:1", 1)}}
	empty.carryOut(Make(empty, o, prepulltest.Noon))
	if len(ListOf(empty.DaemonSets[0])) > 0 {
		t.Fatal("the class does not begin with an empty list")
	}
	for i := range empty.Nodes {
		pod := prepulltest.Pod(empty.Nodes[i].Name, prepulltest.Noon)
		pod.Labels, pod.Spec.SchedulingGates = empty.DaemonSets[0].Spec.Template.Labels, empty.DaemonSets[0].Spec.Template.Spec.SchedulingGates
		pod.Status = corev1.PodStatus{}
		empty.Pods = append(empty.Pods, pod)
	}
	if got := ungated(Make(empty, o, prepulltest.Noon.Add(time.Second))); got != "000 001 002 003 004 005" {
		t.Errorf("with an empty list %q start", got)
	}
}

func TestPrepullPodsHaveAGateOnlyWithAMirror(t *testing.T) {
	t.Parallel()
	s := mirroring(1, "a:1")
	if gates := s.DaemonSets[0].Spec.Template.Spec.SchedulingGates; len(gates) != 1 || gates[0].Name != v1alpha1.SchedulingGateMirror {
		t.Errorf("gates %v", gates)
	}
	p := Make(s, testOptions, prepulltest.Noon.Add(time.Minute))
	written := slices.Concat(p.Roll, p.UpdateInPlace)
	if len(written) != 1 || len(written[0].Spec.Template.Spec.SchedulingGates) > 0 {
		t.Errorf("switched off, %d DaemonSets are written", len(written))
	}
}

// In whatever order mirrors and pods come, a registry sends an image to each zone once as long as nothing fails, and no pod waits longer
// than its deadline.
func TestAZonePullsAnImageOnce(t *testing.T) {
	t.Parallel()
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 1))
		images := []string{"a:1", "b:1", "c:1"}[:1+r.IntN(3)]
		s := mirroring(2+r.IntN(7), images...)
		s.Mirrored = map[string]bool{}
		list, sent, at := ListOf(s.DaemonSets[0]), map[string]int{}, map[string]int{}
		now := prepulltest.Noon
		for step := 0; step < 200 && now.Before(prepulltest.Noon.Add(110*time.Second)); step++ {
			now = now.Add(time.Duration(r.IntN(1000)) * time.Millisecond)
			s.Mirrored[s.Nodes[r.IntN(len(s.Nodes))].Name] = true
			for _, pod := range Make(s, mirroringOptions(), now).Ungate {
				at[pod.Spec.NodeName] = 0
			}
			for i := range s.Nodes {
				n := &s.Nodes[i]
				done, started := at[n.Name]
				if !started {
					continue
				}
				if done < len(list) && r.IntN(2) == 0 {
					zone := n.Labels[corev1.LabelTopologyZone]
					served := slices.ContainsFunc(s.Nodes, func(other corev1.Node) bool {
						return other.Name != n.Name && other.Labels[corev1.LabelTopologyZone] == zone && at[other.Name] > done
					})
					if !served {
						sent[zone+list[done].Image]++
					}
					done++
					at[n.Name] = done
				}
				var statuses []corev1.ContainerStatus
				for j, l := range list {
					if j < done {
						statuses = append(statuses, prepulltest.Done(l.Name, 2*j+2, 2*j+3))
					} else {
						statuses = append(statuses, prepulltest.Waits(l.Name, "PodInitializing", ""))
					}
				}
				s.begin(n.Name, statuses...)
			}
		}
		for key, times := range sent {
			if times > 1 {
				t.Errorf("seed %d: %s was sent %d times", seed, key, times)
			}
		}
		for _, pod := range Make(s, mirroringOptions(), prepulltest.Noon.Add(2*time.Minute)).Ungate {
			pod.Spec.SchedulingGates = nil
		}
		if slices.ContainsFunc(s.Pods, WaitsForMirror) {
			t.Errorf("seed %d: a pod waits for longer than its deadline", seed)
		}
	}
}
