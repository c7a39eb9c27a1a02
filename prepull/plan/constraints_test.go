package plan

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/nodeclass"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// placed is a learned image whose pods ask for something.
func placed(image string, placements ...v1alpha1.Placement) v1alpha1.PrepullImage {
	o := inUse(image)
	o.Status.Placements = placements
	return o
}

// gpuNode offers a GPU.
func gpuNode(name string) corev1.Node {
	n := prepulltest.Node(name, "amd64")
	n.Labels["kind"] = "gpu"
	n.Status.Allocatable = corev1.ResourceList{"example.com/gpu": resource.MustParse("1")}
	return n
}

// nodesThatGet are the nodes of the classes whose lists have an image.
func nodesThatGet(p Plan, image string) []string {
	var nodes []string
	for _, cp := range p.Classes {
		if slices.ContainsFunc(cp.List, func(e entry) bool { return e.image == image }) {
			for _, n := range cp.Nodes {
				nodes = append(nodes, n.Name)
			}
		}
	}
	slices.Sort(nodes)
	return nodes
}

// whySkipped is the message of the condition Selected if it is False.
func (s *State) whySkipped(image string) string {
	c := meta.FindStatusCondition(s.status(workload.ObjectName(image)).Conditions, v1alpha1.ConditionSelected)
	if c == nil || c.Status != "False" {
		return ""
	}
	return c.Reason + ": " + c.Message
}

func TestARuntimeClassIsFollowed(t *testing.T) {
	t.Parallel()
	sandbox := prepulltest.Node("sandbox", "amd64")
	sandbox.Labels["kata"] = "yes"
	sandbox.Spec.Taints = []corev1.Taint{{Key: "kata", Effect: corev1.TaintEffectNoSchedule}}
	kata := &nodev1.Scheduling{NodeSelector: map[string]string{"kata": "yes"}, Tolerations: []corev1.Toleration{{Key: "kata", Operator: corev1.TolerationOpExists}}}
	runsAs := v1alpha1.Placement{RuntimeClassName: "kata"}
	contradicts := v1alpha1.Placement{RuntimeClassName: "kata", NodeSelector: map[string]string{"kata": "no"}}
	for name, test := range map[string]struct {
		classes    nodeclass.RuntimeClasses
		placements []v1alpha1.Placement
		want       []string
		skipped    string
	}{
		"its scheduling counts":                {nodeclass.RuntimeClasses{"kata": kata}, []v1alpha1.Placement{runsAs}, []string{"sandbox"}, ""},
		"without one it changes nothing":       {nodeclass.RuntimeClasses{"kata": nil}, []v1alpha1.Placement{runsAs}, []string{"plain"}, ""},
		"one that does not exist":              {nil, []v1alpha1.Placement{runsAs}, nil, "NoNodes: RuntimeClass kata does not exist: no pod can start."},
		"one that does not exist, for some":    {nil, []v1alpha1.Placement{runsAs, {}}, []string{"plain"}, ""},
		"one that contradicts the pods":        {nodeclass.RuntimeClasses{"kata": kata}, []v1alpha1.Placement{contradicts}, nil, "NoNodes: RuntimeClass kata asks for nodes with kata=yes, and its pods for kata=no: no pod can start."},
		"one whose nodes are not there at all": {nodeclass.RuntimeClasses{"kata": {NodeSelector: map[string]string{"a": "b"}}}, []v1alpha1.Placement{runsAs}, nil, "NoNodes: No Linux node matches what its pods ask of a node."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := State{Nodes: []corev1.Node{prepulltest.Node("plain", "amd64"), sandbox}, Images: []v1alpha1.PrepullImage{placed("a:1", test.placements...)}, RuntimeClasses: test.classes}
			before := *s.Images[0].DeepCopy()
			p := Make(s, testOptions, prepulltest.Noon)
			if diff := cmp.Diff(test.want, nodesThatGet(p, "a:1")); diff != "" {
				t.Errorf("nodes (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(before, s.Images[0]); diff != "" {
				t.Errorf("the stored image changed:\n%s", diff)
			}
			s.carryOut(p)
			if got := s.whySkipped("a:1"); got != test.skipped {
				t.Errorf("it is skipped: %q, want %q", got, test.skipped)
			}
		})
	}
}

func TestAnImageThatAsksForAResource(t *testing.T) {
	t.Parallel()
	train := placed("train:1", v1alpha1.Placement{Resources: []string{"example.com/gpu"}})
	s := State{Nodes: prepulltest.Nodes(2), Images: []v1alpha1.PrepullImage{train, placed("web:1", v1alpha1.Placement{})}}
	s.carryOut(Make(s, testOptions, prepulltest.Noon))
	if got := s.whySkipped("train:1"); got != "NoNodes: No node offers example.com/gpu." {
		t.Errorf("it is skipped: %q", got)
	}
	before := s.DaemonSet("kube-prepull-linux-amd64").DeepCopy()
	s.runPods(prepulltest.Noon, nothingFails)

	s.Nodes = append(s.Nodes, gpuNode("gpu"))
	p := Make(s, testOptions, prepulltest.Noon)
	if diff := cmp.Diff([]string{"gpu"}, nodesThatGet(p, "train:1")); diff != "" {
		t.Errorf("nodes (-want +got):\n%s", diff)
	}
	if len(p.Roll) > 0 {
		t.Errorf("pods are restarted for a node that offers more: %v", p.Roll[0].Name)
	}
	s.carryOut(p)
	if diff := cmp.Diff(before.Spec.Template.Labels, s.DaemonSet("kube-prepull-linux-amd64").Spec.Template.Labels); diff != "" {
		t.Errorf("the pods of the other nodes differ:\n%s", diff)
	}
	s.runPods(prepulltest.Noon, nothingFails)
	s.carryOut(Make(s, testOptions, prepulltest.Noon.Add(time.Minute)))
	for image, want := range map[string]string{"train:1": "1/1", "web:1": "3/3"} {
		if got := s.status(workload.ObjectName(image)); got.Ready != want || got.State != "Ready" {
			t.Errorf("%s is %s on %s, want %s", image, got.State, got.Ready, want)
		}
	}
}

func TestAVirtualNodeIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	virtual := prepulltest.Node("virtual", "amd64")
	virtual.Labels["type"] = "virtual-kubelet"
	virtual.Spec.Taints = []corev1.Taint{{Key: v1alpha1.TaintWarming, Effect: corev1.TaintEffectNoSchedule}}
	old := corev1.NodeCondition{Type: v1alpha1.ConditionImagesReady, Status: corev1.ConditionFalse, Reason: "Pending", Message: "0 of 1 images, 0 pulling"}
	virtual.Status.Conditions = append(virtual.Status.Conditions, old)
	s := State{Nodes: append(prepulltest.Nodes(1), virtual), Images: []v1alpha1.PrepullImage{placed("a:1", workload.Anywhere())}}
	o := warmingOptions()
	s.carryOut(Make(s, o, prepulltest.Noon))
	s.runPods(prepulltest.Noon, nothingFails)
	p := Make(s, o, prepulltest.Noon.Add(time.Minute))
	s.carryOut(p)
	if got := s.status(workload.ObjectName("a:1")); got.State != "Ready" || got.Ready != "1/1" {
		t.Errorf("%s, %s", got.State, got.Ready)
	}
	if len(p.Releases) != 1 || p.Releases[0].Reason != ReleaseEmpty {
		t.Errorf("releases %+v", p.Releases)
	}
	i := slices.IndexFunc(p.Conditions, func(c ConditionChange) bool { return c.Node == "virtual" })
	if i < 0 || p.Conditions[i].Condition.Status != corev1.ConditionTrue || p.Conditions[i].Condition.Reason != "NothingToPull" {
		t.Errorf("conditions %+v", p.Conditions)
	}
	s.Nodes[1].Status.Conditions = s.Nodes[1].Status.Conditions[:1]
	for _, c := range Make(s, o, prepulltest.Noon.Add(time.Minute)).Conditions {
		if c.Node == "virtual" {
			t.Errorf("a condition is written to a virtual node that had none: %+v", c)
		}
	}
}

// DaemonSets of managers that knew nothing of virtual nodes.
func TestToKeepPodsOffVirtualNodesRestartsNone(t *testing.T) {
	t.Parallel()
	s := State{Nodes: prepulltest.Nodes(2), Images: []v1alpha1.PrepullImage{placed("a:1", v1alpha1.Placement{})}}
	s.carryOut(Make(s, testOptions, prepulltest.Noon))
	s.runPods(prepulltest.Noon, nothingFails)
	term := &s.DaemonSets[0].Spec.Template.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms[0]
	all := len(term.MatchExpressions)
	term.MatchExpressions = slices.DeleteFunc(term.MatchExpressions, func(r corev1.NodeSelectorRequirement) bool { return !strings.HasPrefix(r.Key, "kubernetes.io/") })
	if len(term.MatchExpressions) != all-2 {
		t.Fatalf("the affinity was %v", term)
	}
	s.DaemonSets[0].Annotations[AnnotationSpecHash] = specHash(&s.DaemonSets[0].Spec)
	p := Make(s, testOptions, prepulltest.Noon.Add(time.Minute))
	if len(p.Roll)+len(p.DeletePods) > 0 || len(p.UpdateInPlace) != 1 || p.UpdateInPlace[0].Spec.UpdateStrategy.Type != "OnDelete" {
		t.Errorf("to roll %d, to delete %d pods, in place %+v", len(p.Roll), len(p.DeletePods), p.UpdateInPlace)
	}
}

func TestAYoungNodeIsLookedAtAgain(t *testing.T) {
	t.Parallel()
	young := prepulltest.Node("young", "amd64")
	young.Labels["kind"] = "gpu"
	young.CreationTimestamp.Time = prepulltest.Noon.Add(-time.Minute)
	s := State{Nodes: append(prepulltest.Nodes(1), gpuNode("gpu"), young), Images: []v1alpha1.PrepullImage{placed("train:1", v1alpha1.Placement{Resources: []string{"example.com/gpu"}})}}
	p := Make(s, testOptions, prepulltest.Noon)
	if diff := cmp.Diff([]string{"gpu", "young"}, nodesThatGet(p, "train:1")); diff != "" {
		t.Errorf("nodes (-want +got):\n%s", diff)
	}
	due := prepulltest.Noon.Add(14 * time.Minute)
	if !p.Next.Equal(due) {
		t.Errorf("the next look is at %v, want %v", p.Next, due)
	}
	if diff := cmp.Diff([]string{"gpu"}, nodesThatGet(Make(s, testOptions, due), "train:1")); diff != "" {
		t.Errorf("then (-want +got):\n%s", diff)
	}
}
