package plan

import (
	"fmt"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
	"github.com/kube-prepull/kube-prepull/prepull/warmth"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// holding are options with image volumes.
var holding = func() Options {
	o := testOptions
	o.ImageVolumes = true
	return o
}()

// ableNodes are n nodes that mount image volumes.
func ableNodes(n int) []corev1.Node {
	nodes := prepulltest.Nodes(n)
	for i := range nodes {
		nodes[i].Status.NodeInfo = corev1.NodeSystemInfo{KubeletVersion: "v1.36.0", ContainerRuntimeVersion: "containerd://2.1.0"}
	}
	return nodes
}

func none(string, string) string { return "" }

// settle carries out plans and runs pods until nothing is left to write, and returns how often the list was rolled.
func (s *State) settle(t *testing.T, o Options, fails func(node, image string) string) (rolls int) {
	t.Helper()
	for i := range 10 {
		now := prepulltest.Noon.Add(time.Duration(i) * time.Minute)
		p := Make(*s, o, now)
		if len(p.Roll)+len(p.UpdateInPlace)+len(p.DeleteEmpty) == 0 {
			s.carryOut(p)
			return rolls
		}
		rolls += len(p.Roll)
		s.carryOut(p)
		s.runPods(now, fails)
	}
	t.Fatal("it does not settle")
	return 0
}

// divided are the images of the only DaemonSet, those that it brings and those that it holds.
func (s *State) divided(t *testing.T) (brought, held []string) {
	t.Helper()
	ds := s.DaemonSets[0]
	for _, l := range ListOf(ds) {
		if l.Held {
			held = append(held, l.Image)
		} else {
			brought = append(brought, l.Image)
		}
	}
	if HeldIn(&ds.Spec.Template.Spec) != len(held) {
		t.Errorf("%d of %d held images are mounted", HeldIn(&ds.Spec.Template.Spec), len(held))
	}
	slices.Sort(brought)
	slices.Sort(held)
	return brought, held
}

func (s *State) wantDivided(t *testing.T, when, brought, held string) {
	t.Helper()
	b, h := s.divided(t)
	if fmt.Sprint(b) != brought || fmt.Sprint(h) != held {
		t.Errorf("%s: brought are %v, want %s, and held %v, want %s", when, b, brought, h, held)
	}
}

func TestWhatIsProvenIsHeldAndRestartsNoPod(t *testing.T) {
	t.Parallel()
	s := State{Nodes: ableNodes(3), Images: []v1alpha1.PrepullImage{prepulltest.Learned("a:1", 3), prepulltest.Learned("b:1", 2)}}
	s.carryOut(Make(s, holding, prepulltest.Noon))
	s.wantDivided(t, "at first", "[a:1 b:1]", "[]")
	s.runPods(prepulltest.Noon, none)
	if rolls := s.settle(t, holding, none); rolls != 0 {
		t.Errorf("to hold what is proven takes %d rolls", rolls)
	}
	s.wantDivided(t, "when all is there", "[]", "[a:1 b:1]")

	s.Images = append(s.Images, prepulltest.Learned("c:1", 1))
	s.carryOut(Make(s, holding, prepulltest.Noon))
	s.wantDivided(t, "with another image", "[c:1]", "[a:1 b:1]")
	s.runPods(prepulltest.Noon, none)
	s.settle(t, holding, none)

	s.Images = s.Images[1:]
	if rolls := s.settle(t, holding, none); rolls != 1 {
		t.Errorf("an image that goes takes %d rolls", rolls)
	}
	s.wantDivided(t, "when one has gone", "[]", "[b:1 c:1]")

	off := holding
	off.ImageVolumes = false
	if rolls := s.settle(t, off, none); rolls != 1 {
		t.Errorf("to switch it off takes %d rolls", rolls)
	}
	s.wantDivided(t, "switched off", "[b:1 c:1]", "[]")
	if rolls := s.settle(t, holding, none); rolls != 0 {
		t.Errorf("to switch it on takes %d rolls", rolls)
	}
	s.wantDivided(t, "switched on", "[]", "[b:1 c:1]")
}

// Pods that run are left alone, and their label says that they have the list.
func TestAnotherDivisionKeepsTheLabel(t *testing.T) {
	t.Parallel()
	s := State{Nodes: ableNodes(3), Images: []v1alpha1.PrepullImage{prepulltest.Learned("a:1", 3), prepulltest.Learned("b:1", 2)}}
	s.carryOut(Make(s, holding, prepulltest.Noon))
	s.runPods(prepulltest.Noon, none)
	label := s.DaemonSets[0].Labels[v1alpha1.LabelList]
	p := Make(s, holding, prepulltest.Noon.Add(time.Minute))
	if len(p.UpdateInPlace) != 1 || len(p.Roll) != 0 {
		t.Fatalf("%d are updated in place, and %d rolled", len(p.UpdateInPlace), len(p.Roll))
	}
	ds := p.UpdateInPlace[0]
	if ds.Labels[v1alpha1.LabelList] != label || ds.Spec.Template.Labels[v1alpha1.LabelList] != label {
		t.Errorf("the label %s becomes %s, and %s of pods", label, ds.Labels[v1alpha1.LabelList], ds.Spec.Template.Labels[v1alpha1.LabelList])
	}
	if ds.Spec.UpdateStrategy.Type != appsv1.OnDeleteDaemonSetStrategyType {
		t.Errorf("the strategy is %s", ds.Spec.UpdateStrategy.Type)
	}
}

// That pods need an image no longer at every start waits for another change of the list.
func TestAnImageThatIsAlwaysPulledStaysSoUntilTheListChanges(t *testing.T) {
	t.Parallel()
	s := State{Nodes: ableNodes(3), Images: []v1alpha1.PrepullImage{prepulltest.Learned("a:1", 3), prepulltest.Learned("b:1", 2)}}
	s.Images[0].Status.AlwaysPull = true
	s.settle(t, holding, none)
	s.wantDivided(t, "at first", "[a:1]", "[b:1]")
	s.Images[0].Status.AlwaysPull = false
	if rolls := s.settle(t, holding, none); rolls != 0 {
		t.Errorf("it takes %d rolls", rolls)
	}
	s.wantDivided(t, "as pods pull it no longer", "[a:1]", "[b:1]")
	s.Images = append(s.Images, prepulltest.Learned("c:1", 1))
	s.settle(t, holding, none)
	s.wantDivided(t, "with another image", "[]", "[a:1 b:1 c:1]")
}

// An older node gets a pod before it has said what it runs.
func TestAPodThatItsNodeCannotRunIsMadeAnew(t *testing.T) {
	t.Parallel()
	s := heldState(t)
	s.runPods(prepulltest.Noon, none)
	s.settle(t, holding, none)
	s.Nodes = append(s.Nodes, prepulltest.Node("older", "amd64"))
	s.runPods(prepulltest.Noon, none)
	older := s.Pods[3]
	older.Status.ContainerStatuses, older.Status.Conditions, older.Status.InitContainerStatuses = nil, nil, nil
	if p := Make(s, holding, prepulltest.Noon); len(p.DeletePods)+len(p.UpdateInPlace) > 0 {
		t.Errorf("before it has said what it runs, %d pods go and %d DaemonSets are written", len(p.DeletePods), len(p.UpdateInPlace))
	}
	s.Nodes[3].Status.NodeInfo = corev1.NodeSystemInfo{KubeletVersion: "v1.34.0", ContainerRuntimeVersion: "containerd://2.1.0"}
	p := Make(s, holding, prepulltest.Noon)
	if len(p.UpdateInPlace) != 1 || len(p.DeletePods) != 1 || p.DeletePods[0] != older || len(p.Roll) > 0 {
		t.Errorf("%d DaemonSets are written in place, %d rolled, and %d pods go", len(p.UpdateInPlace), len(p.Roll), len(p.DeletePods))
	}
}

// An older manager labelled its DaemonSets in another way.
func TestAnUpgradeRestartsNoPod(t *testing.T) {
	t.Parallel()
	s := State{Nodes: ableNodes(3), Images: []v1alpha1.PrepullImage{prepulltest.Learned("a:1", 3), prepulltest.Learned("b:1", 2)}}
	s.carryOut(Make(s, holding, prepulltest.Noon))
	former := s.DaemonSets[0]
	former.Labels[v1alpha1.LabelList] = "0123456789abcdef-0123456789abcdef"
	former.Spec.Template.Labels[v1alpha1.LabelList] = former.Labels[v1alpha1.LabelList]
	former.Annotations[AnnotationSpecHash] = specHash(&former.Spec)
	s.runPods(prepulltest.Noon, none)
	if p := Make(s, holding, prepulltest.Noon); len(p.Roll)+len(p.UpdateInPlace) > 0 {
		t.Errorf("%d are rolled, and %d updated in place", len(p.Roll), len(p.UpdateInPlace))
	}
	s.Images = append(s.Images, prepulltest.Learned("c:1", 1))
	s.carryOut(Make(s, holding, prepulltest.Noon))
	s.wantDivided(t, "with another image", "[c:1]", "[a:1 b:1]")
}

func TestWhatIsNotProvenIsBrought(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change func(s *State)
		fails  func(node, image string) string
		want   string // what is held after another image has come
	}{
		"all have run it":             {func(*State) {}, none, "[a:1 b:1]"},
		"pods pull it at every start": {func(s *State) { s.Images[0].Status.AlwaysPull = true }, none, "[b:1]"},
		"one node cannot pull it": {func(*State) {}, func(node, image string) string {
			return map[string]string{"node-001 b:1": "i/o timeout"}[node+" "+image]
		}, "[a:1]"},
		"the API server drops volumes":    {func(s *State) { s.NoImageVolumes = true }, none, "[]"},
		"an older node is in the class":   {func(s *State) { s.Nodes[1].Status.NodeInfo.KubeletVersion = "v1.35.9" }, none, "[]"},
		"a node has no room for the pod":  {func(s *State) { s.Pods = s.Pods[1:] }, none, "[a:1 b:1]"},
		"a node joins":                    {func(s *State) { s.Nodes = ableNodes(4) }, none, "[a:1 b:1]"},
		"one that says nothing yet joins": {func(s *State) { s.Nodes = append(s.Nodes, prepulltest.Node("new", "amd64")) }, none, "[a:1 b:1]"},
		"no pod tells":                    {func(s *State) { s.Pods = nil }, none, "[]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := State{Nodes: ableNodes(3), Images: []v1alpha1.PrepullImage{prepulltest.Learned("a:1", 3), prepulltest.Learned("b:1", 2)}}
			s.carryOut(Make(s, holding, prepulltest.Noon))
			s.runPods(prepulltest.Noon, tc.fails)
			tc.change(&s)
			s.Images = append(s.Images, prepulltest.Learned("c:1", 1))
			s.carryOut(Make(s, holding, prepulltest.Noon.Add(time.Minute)))
			_, held := s.divided(t)
			if fmt.Sprint(held) != tc.want {
				t.Errorf("held are %v, want %s", held, tc.want)
			}
		})
	}
}

// heldState is a state in which a:1 and b:1 are held, and c:1 is brought, as while it is new.
func heldState(t *testing.T) State {
	t.Helper()
	s := State{Nodes: ableNodes(3), Images: []v1alpha1.PrepullImage{prepulltest.Learned("a:1", 3), prepulltest.Learned("b:1", 2)}}
	s.settle(t, holding, none)
	s.Images = append(s.Images, prepulltest.Learned("c:1", 1))
	s.carryOut(Make(s, holding, prepulltest.Noon))
	for i := range s.Images {
		s.Images[i].Status.UserCount = 1
	}
	s.wantDivided(t, "to begin with", "[c:1]", "[a:1 b:1]")
	return s
}

func TestAnOlderNodeBringsAllBack(t *testing.T) {
	t.Parallel()
	s := heldState(t)
	s.Nodes = append(s.Nodes, prepulltest.Node("older", "amd64"))
	s.Nodes[3].Status.NodeInfo = corev1.NodeSystemInfo{KubeletVersion: "v1.34.0", ContainerRuntimeVersion: "containerd://2.1.0"}
	s.runPods(prepulltest.Noon, none)
	if rolls := s.settle(t, holding, none); rolls != 0 {
		t.Errorf("it takes %d rolls", rolls)
	}
	s.wantDivided(t, "with an older node", "[a:1 b:1 c:1]", "[]")
}

// A held image that is gone from its registry is in nobody's way, and costs nobody a new list.
func TestAHeldImageThatIsGone(t *testing.T) {
	t.Parallel()
	s := heldState(t)
	s.Nodes = ableNodes(8)
	gone := func(node, image string) string {
		if node >= "node-003" && image == "a:1" {
			return "not found"
		}
		return ""
	}
	s.runPods(prepulltest.Noon, gone)
	p := Make(s, holding, prepulltest.Noon.Add(time.Minute))
	if len(p.Roll) > 0 {
		t.Fatal("one image that new nodes lack gives all a new list")
	}
	s.carryOut(p)
	for image, want := range map[string]string{"a:1": "3/8", "b:1": "8/8", "c:1": "8/8"} {
		name := prepulltest.Learned(image, 0).Name
		if got := s.status(name).Ready; got != want {
			t.Errorf("%s is on %s nodes, want %s", image, got, want)
		}
		failed := meta.IsStatusConditionTrue(s.status(name).Conditions, v1alpha1.ConditionPullFailed)
		if failed != (image == "a:1") {
			t.Errorf("%s fails: %v", image, failed)
		}
	}
	if got := p.Classes[0]; !got.Failing("node-004") || got.Complete("node-004") || !got.Complete("node-001") {
		t.Error("a node that lacks the image is complete, or one that has it is not")
	}
	if rolls := s.settle(t, holding, gone); rolls != 0 {
		t.Errorf("%d lists follow", rolls)
	}
	// With another change of the list it goes for its failures.
	s.Images = append(s.Images, prepulltest.Learned("d:1", 1))
	s.settle(t, holding, gone)
	s.wantDivided(t, "with another image", "[]", "[b:1 c:1 d:1]")
}

func TestTheGateWaitsForWhatIsHeld(t *testing.T) {
	t.Parallel()
	o := holding
	o.Gate = Gate{Enabled: true, TaintKey: v1alpha1.TaintWarming, Deadline: 5 * time.Minute, MaxBytes: 10 << 30}
	now := prepulltest.Noon.Add(2 * time.Minute)
	pulling := []corev1.ContainerStatus{prepulltest.Waits(warmth.InstallContainer, "PodInitializing", "")}
	for name, tc := range map[string]struct {
		change func(*corev1.Pod, *corev1.Node)
		want   ReleaseReason
	}{
		"it pulls them": {func(p *corev1.Pod, _ *corev1.Node) {
			p.Status.InitContainerStatuses, p.Status.ContainerStatuses = pulling, nil
		}, ""},
		"all run": {func(*corev1.Pod, *corev1.Node) {}, ReleaseWarm},
		"the waiting container starts, as all have been tried": {func(p *corev1.Pod, _ *corev1.Node) {
			p.Status.ContainerStatuses = []corev1.ContainerStatus{prepulltest.Waits(warmth.WaitContainer, "PodInitializing", "")}
		}, ReleaseWarm},
		"the node lists them before, and lacks what is brought": {func(p *corev1.Pod, n *corev1.Node) {
			p.Status.InitContainerStatuses, p.Status.ContainerStatuses = pulling, nil
			n.Status.Images = []corev1.ContainerImage{{Names: []string{"docker.io/library/a:1"}}, {Names: []string{"docker.io/library/b:1"}}}
		}, ""},
		"one is gone, the rest is there": {func(p *corev1.Pod, _ *corev1.Node) {
			p.Status.ContainerStatuses = []corev1.ContainerStatus{prepulltest.Waits(warmth.WaitContainer, "ImagePullBackOff", `Back-off pulling image "a:1": not found`)}
		}, ReleaseFailing},
		"one is gone, and another is still brought": {func(p *corev1.Pod, _ *corev1.Node) {
			p.Status.InitContainerStatuses = p.Status.InitContainerStatuses[:1]
			p.Status.ContainerStatuses = []corev1.ContainerStatus{prepulltest.Waits(prepulltest.Learned("a:1", 0).Name, "ImagePullBackOff", "not found")}
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := heldState(t)
			s.Nodes = ableNodes(4)
			s.Nodes[3].CreationTimestamp.Time = prepulltest.Noon
			s.Nodes[3].Spec.Taints = []corev1.Taint{{Key: v1alpha1.TaintWarming, Effect: corev1.TaintEffectNoSchedule}}
			s.runPods(prepulltest.Noon, none)
			i := slices.IndexFunc(s.Pods, func(p *corev1.Pod) bool { return p.Spec.NodeName == "node-003" })
			tc.change(s.Pods[i], &s.Nodes[3])
			p := Make(s, o, now)
			var got ReleaseReason
			if len(p.Releases) == 1 {
				got = p.Releases[0].Reason
			}
			if got != tc.want {
				t.Errorf("the node is untainted because of %q, want %q", got, tc.want)
			}
		})
	}
}

// What is proven is held, once nothing is left to do.
func (c *chaos) checkAllIsHeld(t *testing.T, cp *ClassPlan, list []Listed) {
	t.Helper()
	for _, l := range list {
		always := false
		for _, image := range cp.Images {
			always = always || image.Name == l.Name && (image.alwaysPull || image.retry != nil || !image.Warmth.Proven())
		}
		if !l.Held && !l.always && !always {
			t.Errorf("%s is proven in %s, and brought", l.Image, cp.Name)
		}
	}
}

// Every image of a list is in one of its parts, whatever happens.
func (c *chaos) checkDivision(t *testing.T, ds *appsv1.DaemonSet) (held int) {
	t.Helper()
	if ds == nil {
		return 0
	}
	seen := map[string]int{}
	for _, l := range ListOf(ds) {
		seen[l.Name]++
		if l.Held {
			held++
		}
	}
	for name, times := range seen {
		if times != 1 {
			t.Errorf("%s is %d times in %s", name, times, ds.Name)
		}
	}
	if HeldIn(&ds.Spec.Template.Spec) != held {
		t.Errorf("%d of %d held images are mounted in %s", HeldIn(&ds.Spec.Template.Spec), held, ds.Name)
	}
	for i, l := range ListOf(ds) {
		for _, other := range ListOf(ds)[:i] {
			if workload.SamePull(l.Image, other.Image) {
				t.Errorf("%s is in %s as %s, too", l.Image, ds.Name, other.Image)
			}
		}
	}
	return held
}

// statusOn is the status of an image's init container in the pod of a node.
func (s *State) statusOn(node, image string) *corev1.ContainerStatus {
	for _, pod := range s.Pods {
		for i := range pod.Status.InitContainerStatuses {
			if pod.Spec.NodeName == node && pod.Status.InitContainerStatuses[i].Name == prepulltest.Learned(image, 0).Name {
				return &pod.Status.InitContainerStatuses[i]
			}
		}
	}
	return nil
}

// Pods that were made before an image was held bring it, and may be stuck at it: then the list changes as ever.
func TestAHeldImageThatPodsStillBring(t *testing.T) {
	t.Parallel()
	s := State{Nodes: ableNodes(6), Images: []v1alpha1.PrepullImage{prepulltest.Learned("a:1", 3), prepulltest.Learned("b:1", 2)}}
	s.carryOut(Make(s, holding, prepulltest.Noon))
	s.runPods(prepulltest.Noon, none)
	for i := 1; i < 6; i++ {
		node := fmt.Sprintf("node-%03d", i)
		*s.statusOn(node, "a:1") = prepulltest.Waits(prepulltest.Learned("a:1", 0).Name, "PodInitializing", "")
		*s.statusOn(node, "b:1") = prepulltest.Waits(prepulltest.Learned("b:1", 0).Name, "PodInitializing", "")
	}
	for _, pod := range s.Pods[1:] {
		pod.Status.Conditions, pod.Status.ContainerStatuses = nil, nil
	}
	s.carryOut(Make(s, holding, prepulltest.Noon.Add(time.Second)))
	s.wantDivided(t, "as one node has all", "[]", "[a:1 b:1]")
	for i := 1; i < 6; i++ {
		*s.statusOn(fmt.Sprintf("node-%03d", i), "a:1") = prepulltest.Waits(prepulltest.Learned("a:1", 0).Name, "CreateContainerError", "no such file")
	}
	p := Make(s, holding, prepulltest.Noon.Add(2*time.Minute))
	if len(p.Roll) != 1 {
		t.Fatalf("%d lists follow", len(p.Roll))
	}
	s.carryOut(p)
	if got := fmt.Sprint(s.listOf("linux-amd64")); got != "[b:1]" {
		t.Errorf("listed are %s", got)
	}
}

func TestWhatIsBehindAnImageThatFailsIsNotHeldInPlace(t *testing.T) {
	t.Parallel()
	s := State{Nodes: ableNodes(4), Images: []v1alpha1.PrepullImage{prepulltest.Learned("a:1", 3), prepulltest.Learned("b:1", 2)}}
	s.carryOut(Make(s, holding, prepulltest.Noon))
	s.runPods(prepulltest.Noon, none)
	for i := 2; i < 4; i++ {
		node := fmt.Sprintf("node-%03d", i)
		*s.statusOn(node, "a:1") = prepulltest.Waits(prepulltest.Learned("a:1", 0).Name, "CreateContainerError", "no such file")
		*s.statusOn(node, "b:1") = prepulltest.Waits(prepulltest.Learned("b:1", 0).Name, "PodInitializing", "")
		s.Pods[i].Status.Conditions, s.Pods[i].Status.ContainerStatuses = nil, nil
	}
	p := Make(s, holding, prepulltest.Noon.Add(time.Minute))
	if len(p.UpdateInPlace) > 0 || len(p.Roll) != 1 {
		t.Errorf("%d DaemonSets are updated in place, and %d rolled", len(p.UpdateInPlace), len(p.Roll))
	}
}

func TestSwitchedOffThePodsLoseWhatTheyMount(t *testing.T) {
	t.Parallel()
	s := State{Nodes: ableNodes(2), Images: []v1alpha1.PrepullImage{prepulltest.Learned("a:1", 3)}}
	s.settle(t, holding, none)
	s.runPods(prepulltest.Noon, none)
	off := holding
	off.ImageVolumes = false
	s.carryOut(Make(s, off, prepulltest.Noon))
	// Before any pod is replaced, other nodes are selected.
	terms := s.DaemonSets[0].Spec.Template.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
	terms[0].MatchExpressions = append(terms[0].MatchExpressions, corev1.NodeSelectorRequirement{Key: "gpu", Operator: corev1.NodeSelectorOpDoesNotExist})
	p := Make(s, off, prepulltest.Noon)
	if len(p.Roll) != 1 || p.Roll[0].Spec.UpdateStrategy.Type != appsv1.RollingUpdateDaemonSetStrategyType {
		t.Errorf("the roll stops: %d lists, %d in place", len(p.Roll), len(p.UpdateInPlace))
	}
}
