package plan

import (
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
	"github.com/kube-prepull/kube-prepull/prepull/warmth"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

func TestALargeClassOpensWithAnEmptyList(t *testing.T) {
	t.Parallel()
	s := State{Nodes: prepulltest.Nodes(11), Images: []v1alpha1.PrepullImage{prepulltest.Learned("a:1", 1)}}
	p := Make(s, testOptions, prepulltest.Noon)
	if len(p.UpdateInPlace) != 1 || len(p.Roll) != 0 || len(ListOf(p.UpdateInPlace[0])) != 0 {
		t.Fatalf("at first: %d to move, %d to write", len(p.UpdateInPlace), len(p.Roll))
	}
	s.carryOut(p)
	s.runPods(prepulltest.Noon, nothingFails)
	for _, late := range s.Pods[:2] {
		late.Status.Conditions = nil
	}
	p = Make(s, testOptions, prepulltest.Noon.Add(2*time.Second))
	if len(p.UpdateInPlace)+len(p.Roll)+len(p.DeleteEmpty) != 0 {
		t.Errorf("while more are late: %d to move, %d to write, %d to remove", len(p.UpdateInPlace), len(p.Roll), len(p.DeleteEmpty))
	}
	if want := prepulltest.Noon.Add(emptyStartTime); !p.Next.Equal(want) {
		t.Errorf("next look at %v, want %v", p.Next, want)
	}
	if p := Make(s, testOptions, prepulltest.Noon.Add(emptyStartTime)); len(p.Roll) != 1 {
		t.Errorf("a node that does not start a pod holds up the others: %d to write", len(p.Roll))
	}
	s.runPods(prepulltest.Noon, nothingFails)
	s.Pods[0].Status.Conditions = nil
	s.carryOut(Make(s, testOptions, prepulltest.Noon.Add(3*time.Second)))
	if got := s.listOf("linux-amd64"); len(got) != 1 {
		t.Errorf("when one in ten of those that may pull at once is late: %v", got)
	}
}

func TestPodReady(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		conditions []corev1.PodCondition
		want       bool
	}{
		"nothing is known":         {nil, false},
		"it is ready":              {[]corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}, {Type: corev1.PodReady, Status: corev1.ConditionTrue}}, true},
		"it is not ready":          {[]corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse}}, false},
		"it is no more than bound": {[]corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}}, false},
	} {
		if got := warmth.Ready(&corev1.Pod{Status: corev1.PodStatus{Conditions: tc.conditions}}); got != tc.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestASmallClassNeedsNoOpening(t *testing.T) {
	t.Parallel()
	s := State{Nodes: prepulltest.Nodes(10), Images: []v1alpha1.PrepullImage{prepulltest.Learned("a:1", 1)}}
	if p := Make(s, testOptions, prepulltest.Noon); len(p.Roll) != 1 || len(ListOf(p.Roll[0])) != 1 {
		t.Errorf("%d to write", len(p.Roll))
	}
}

// affected is a settled cluster of one image and one class, whose stored DaemonSet then selects other nodes than it should.
func affected(t *testing.T) State {
	t.Helper()
	s := State{Nodes: prepulltest.Nodes(3), Images: []v1alpha1.PrepullImage{prepulltest.Learned("a:1", 1)}}
	s.carryOut(Make(s, testOptions, prepulltest.Noon))
	s.runPods(prepulltest.Noon, nothingFails)
	terms := s.DaemonSets[0].Spec.Template.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
	terms[0].MatchExpressions = append(terms[0].MatchExpressions, corev1.NodeSelectorRequirement{Key: "gpu", Operator: corev1.NodeSelectorOpDoesNotExist})
	s.DaemonSets[0].Annotations[AnnotationSpecHash] = specHash(&s.DaemonSets[0].Spec)
	return s
}

func TestOtherNodesRestartNoPod(t *testing.T) {
	t.Parallel()
	s := affected(t)
	p := Make(s, testOptions, prepulltest.Noon.Add(time.Minute))
	if len(p.UpdateInPlace) != 1 || len(p.Roll) != 0 || p.UpdateInPlace[0].Spec.UpdateStrategy.Type != appsv1.OnDeleteDaemonSetStrategyType {
		t.Fatalf("%d to move, %d to write", len(p.UpdateInPlace), len(p.Roll))
	}
	s.carryOut(p)
	if p := Make(s, testOptions, prepulltest.Noon.Add(2*time.Minute)); len(p.UpdateInPlace)+len(p.Roll) != 0 {
		t.Errorf("once more: %d to move, %d to write", len(p.UpdateInPlace), len(p.Roll))
	}
	s.Images = append(s.Images, prepulltest.Learned("b:1", 1))
	p = Make(s, testOptions, prepulltest.Noon.Add(3*time.Minute))
	if len(p.UpdateInPlace) != 0 || len(p.Roll) != 1 || p.Roll[0].Spec.UpdateStrategy.Type != appsv1.RollingUpdateDaemonSetStrategyType {
		t.Errorf("with a new image: %d to move, %d to write", len(p.UpdateInPlace), len(p.Roll))
	}
}

func TestOtherNodesDoNotWaitForANewList(t *testing.T) {
	t.Parallel()
	s := affected(t)
	s.Images = append(s.Images, prepulltest.Learned("b:1", 1))
	p := Make(s, testOptions, prepulltest.Noon.Add(time.Minute))
	if len(p.UpdateInPlace) != 1 || len(ListOf(p.UpdateInPlace[0])) != 1 || len(p.Roll) != 1 || len(ListOf(p.Roll[0])) != 2 {
		t.Fatalf("%d to move, %d to write", len(p.UpdateInPlace), len(p.Roll))
	}
	s.carryOut(Plan{UpdateInPlace: p.UpdateInPlace})
	if p := Make(s, testOptions, prepulltest.Noon.Add(time.Minute)); len(p.UpdateInPlace) != 0 || len(p.Roll) != 1 {
		t.Errorf("after the move: %d to move, %d to write", len(p.UpdateInPlace), len(p.Roll))
	}
}

func TestARollGoesOnWhenNodesChange(t *testing.T) {
	t.Parallel()
	s := affected(t)
	s.Pods[1].Labels[v1alpha1.LabelList] = "another"
	p := Make(s, testOptions, prepulltest.Noon.Add(time.Minute))
	if len(p.UpdateInPlace) != 0 || len(p.Roll) != 1 || p.Roll[0].Spec.UpdateStrategy.Type != appsv1.RollingUpdateDaemonSetStrategyType {
		t.Errorf("%d to move, %d to write", len(p.UpdateInPlace), len(p.Roll))
	}
}

func TestStrays(t *testing.T) {
	t.Parallel()
	pod := func(node, class string) *corev1.Pod {
		p := prepulltest.Pod(node, prepulltest.Noon)
		p.Labels[v1alpha1.LabelNodeClass] = class
		return p
	}
	leaving := pod("other", "web")
	leaving.DeletionTimestamp = &metav1.Time{Time: prepulltest.Noon}
	classOf := map[string]string{"home": "web", "other": "gpu"}
	stored := map[string]*appsv1.DaemonSet{"kube-prepull-web": {}, "kube-prepull-busy": {}}
	pods := []*corev1.Pod{
		pod("home", "web"), pod("other", "web"), leaving, pod("gone", "web"), pod("other", "no-daemonset"), pod("other", "busy"),
	}
	got := misplacedPods(pods, classOf, stored, map[string]bool{"kube-prepull-busy": true})
	if len(got) != 1 || got[0] != pods[1] {
		t.Errorf("%d misplaced pods", len(got))
	}
}

func TestThePodsOfANodeThatIsGoneLeaveTheNextOneOfItsName(t *testing.T) {
	t.Parallel()
	s := State{Nodes: prepulltest.Nodes(2), Images: []v1alpha1.PrepullImage{inUse("a:1")}}
	s.carryOut(Make(s, testOptions, prepulltest.Noon))
	s.runPods(prepulltest.Noon, nothingFails)
	if p := Make(s, testOptions, prepulltest.Noon); len(p.DeletePods) > 0 {
		t.Errorf("%d pods leave", len(p.DeletePods))
	}
	s.Nodes[1].CreationTimestamp = metav1.NewTime(prepulltest.Noon.Add(time.Second))
	p := Make(s, testOptions, prepulltest.Noon)
	if len(p.DeletePods) != 1 || p.DeletePods[0] != s.Pods[1] {
		t.Errorf("%d pods leave", len(p.DeletePods))
	}
	if ready := p.Classes[0].Warmth.Images[workload.ObjectName("a:1")].Ready(); ready != 1 {
		t.Errorf("the image is on %d nodes", ready)
	}

	// It was made for the former node, and got the next one.
	s.Pods[1].Status.Conditions = append(s.Pods[1].Status.Conditions, corev1.PodCondition{
		Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: s.Nodes[1].CreationTimestamp,
	})
	if p := Make(s, testOptions, prepulltest.Noon); len(p.DeletePods) > 0 {
		t.Error("the pod of the next node leaves it")
	}
}

// The DaemonSet controller rolls nothing while a pod is on a node that it cannot find.
func TestThePodsOfANodeThatIsGoneHoldNoRollUp(t *testing.T) {
	t.Parallel()
	s := State{Nodes: prepulltest.Nodes(2), Images: []v1alpha1.PrepullImage{inUse("a:1")}}
	s.carryOut(Make(s, testOptions, prepulltest.Noon))
	s.runPods(prepulltest.Noon, nothingFails)
	s.Nodes = s.Nodes[:1]
	p := Make(s, testOptions, prepulltest.Noon.Add(orphanTime-time.Second))
	if len(p.DeletePods) > 0 || !p.Next.Equal(prepulltest.Noon.Add(orphanTime)) {
		t.Errorf("%d pods leave before their node can be known; next at %v", len(p.DeletePods), p.Next)
	}
	if p := Make(s, testOptions, prepulltest.Noon.Add(orphanTime)); len(p.DeletePods) != 1 || p.DeletePods[0] != s.Pods[1] || !p.Next.IsZero() {
		t.Errorf("%d pods leave; next at %v", len(p.DeletePods), p.Next)
	}
}

func TestPodsThatWaitForANodeAreNoRoll(t *testing.T) {
	t.Parallel()
	s := affected(t)
	for range 2 {
		pod := prepulltest.Pod("", prepulltest.Noon)
		pod.Labels[v1alpha1.LabelNodeClass] = "linux-amd64"
		pod.Labels[v1alpha1.LabelList] = s.DaemonSets[0].Labels[v1alpha1.LabelList]
		s.Pods = append(s.Pods, pod)
	}
	if p := Make(s, testOptions, prepulltest.Noon.Add(time.Minute)); len(p.UpdateInPlace) != 1 || len(p.Roll) != 0 {
		t.Errorf("%d to move, %d to write", len(p.UpdateInPlace), len(p.Roll))
	}
}

func TestARollThatStoppedGoesOn(t *testing.T) {
	t.Parallel()
	s := affected(t)
	s.carryOut(Make(s, testOptions, prepulltest.Noon.Add(time.Minute)))
	if s.DaemonSets[0].Spec.UpdateStrategy.Type != appsv1.OnDeleteDaemonSetStrategyType {
		t.Fatal("pods are not kept")
	}
	s.Pods[1].Labels[v1alpha1.LabelList] = "another"
	p := Make(s, testOptions, prepulltest.Noon.Add(2*time.Minute))
	if len(p.Roll) != 1 || p.Roll[0].Spec.UpdateStrategy.Type != appsv1.RollingUpdateDaemonSetStrategyType {
		t.Fatalf("%d to move, %d to write", len(p.UpdateInPlace), len(p.Roll))
	}
	s.carryOut(p)
	if p := Make(s, testOptions, prepulltest.Noon.Add(3*time.Minute)); len(p.UpdateInPlace)+len(p.Roll) != 0 {
		t.Errorf("during the roll: %d to move, %d to write", len(p.UpdateInPlace), len(p.Roll))
	}
}
