package prepull

import (
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

func TestALargeClassOpensWithAnEmptyList(t *testing.T) {
	t.Parallel()
	s := state{nodes: testNodes(11), images: []v1alpha1.PrepullImage{learnedObject("a:1", 1)}}
	p := makePlan(s, testOptions, noon)
	if len(p.move) != 1 || len(p.write) != 0 || len(ListOf(p.move[0])) != 0 {
		t.Fatalf("at first: %d to move, %d to write", len(p.move), len(p.write))
	}
	s.carryOut(p)
	s.runPods(noon, nothingFails)
	for _, late := range s.pods[:2] {
		late.Status.Conditions = nil
	}
	p = makePlan(s, testOptions, noon.Add(2*time.Second))
	if len(p.move)+len(p.write)+len(p.remove) != 0 {
		t.Errorf("while more are late: %d to move, %d to write, %d to remove", len(p.move), len(p.write), len(p.remove))
	}
	if want := noon.Add(openingTime); !p.next.Equal(want) {
		t.Errorf("next look at %v, want %v", p.next, want)
	}
	if p := makePlan(s, testOptions, noon.Add(openingTime)); len(p.write) != 1 {
		t.Errorf("a node that does not start a pod holds up the others: %d to write", len(p.write))
	}
	s.runPods(noon, nothingFails)
	s.pods[0].Status.Conditions = nil
	s.carryOut(makePlan(s, testOptions, noon.Add(3*time.Second)))
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
		if got := podReady(&corev1.Pod{Status: corev1.PodStatus{Conditions: tc.conditions}}); got != tc.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestASmallClassNeedsNoOpening(t *testing.T) {
	t.Parallel()
	s := state{nodes: testNodes(10), images: []v1alpha1.PrepullImage{learnedObject("a:1", 1)}}
	if p := makePlan(s, testOptions, noon); len(p.write) != 1 || len(ListOf(p.write[0])) != 1 {
		t.Errorf("%d to write", len(p.write))
	}
}

// affected is a settled cluster of one image and one class, whose stored DaemonSet then selects other nodes than it should.
func affected(t *testing.T) state {
	t.Helper()
	s := state{nodes: testNodes(3), images: []v1alpha1.PrepullImage{learnedObject("a:1", 1)}}
	s.carryOut(makePlan(s, testOptions, noon))
	s.runPods(noon, nothingFails)
	terms := s.daemonSets[0].Spec.Template.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
	terms[0].MatchExpressions = append(terms[0].MatchExpressions, corev1.NodeSelectorRequirement{Key: "gpu", Operator: corev1.NodeSelectorOpDoesNotExist})
	s.daemonSets[0].Annotations[annotationSpecHash] = specHash(&s.daemonSets[0].Spec)
	return s
}

func TestOtherNodesRestartNoPod(t *testing.T) {
	t.Parallel()
	s := affected(t)
	p := makePlan(s, testOptions, noon.Add(time.Minute))
	if len(p.move) != 1 || len(p.write) != 0 || p.move[0].Spec.UpdateStrategy.Type != appsv1.OnDeleteDaemonSetStrategyType {
		t.Fatalf("%d to move, %d to write", len(p.move), len(p.write))
	}
	s.carryOut(p)
	if p := makePlan(s, testOptions, noon.Add(2*time.Minute)); len(p.move)+len(p.write) != 0 {
		t.Errorf("once more: %d to move, %d to write", len(p.move), len(p.write))
	}
	s.images = append(s.images, learnedObject("b:1", 1))
	p = makePlan(s, testOptions, noon.Add(3*time.Minute))
	if len(p.move) != 0 || len(p.write) != 1 || p.write[0].Spec.UpdateStrategy.Type != appsv1.RollingUpdateDaemonSetStrategyType {
		t.Errorf("with a new image: %d to move, %d to write", len(p.move), len(p.write))
	}
}

func TestOtherNodesDoNotWaitForANewList(t *testing.T) {
	t.Parallel()
	s := affected(t)
	s.images = append(s.images, learnedObject("b:1", 1))
	p := makePlan(s, testOptions, noon.Add(time.Minute))
	if len(p.move) != 1 || len(ListOf(p.move[0])) != 1 || len(p.write) != 1 || len(ListOf(p.write[0])) != 2 {
		t.Fatalf("%d to move, %d to write", len(p.move), len(p.write))
	}
	s.carryOut(plan{move: p.move})
	if p := makePlan(s, testOptions, noon.Add(time.Minute)); len(p.move) != 0 || len(p.write) != 1 {
		t.Errorf("after the move: %d to move, %d to write", len(p.move), len(p.write))
	}
}

func TestARollGoesOnWhenNodesChange(t *testing.T) {
	t.Parallel()
	s := affected(t)
	s.pods[1].Labels[v1alpha1.LabelList] = "another"
	p := makePlan(s, testOptions, noon.Add(time.Minute))
	if len(p.move) != 0 || len(p.write) != 1 || p.write[0].Spec.UpdateStrategy.Type != appsv1.RollingUpdateDaemonSetStrategyType {
		t.Errorf("%d to move, %d to write", len(p.move), len(p.write))
	}
}

func TestStrays(t *testing.T) {
	t.Parallel()
	pod := func(node, class string) *corev1.Pod {
		p := testPod(node, noon)
		p.Labels[v1alpha1.LabelNodeClass] = class
		return p
	}
	leaving := pod("other", "web")
	leaving.DeletionTimestamp = &metav1.Time{Time: noon}
	classOf := map[string]string{"home": "web", "other": "gpu"}
	stored := map[string]*appsv1.DaemonSet{"kube-prepull-web": {}, "kube-prepull-busy": {}}
	pods := []*corev1.Pod{
		pod("home", "web"), pod("other", "web"), leaving, pod("gone", "web"), pod("other", "no-daemonset"), pod("other", "busy"),
	}
	got := strays(pods, classOf, stored, map[string]bool{"kube-prepull-busy": true})
	if len(got) != 1 || got[0] != pods[1] {
		t.Errorf("%d strays", len(got))
	}
}

func TestThePodsOfANodeThatIsGoneLeaveTheNextOneOfItsName(t *testing.T) {
	t.Parallel()
	s := state{nodes: testNodes(2), images: []v1alpha1.PrepullImage{inUse("a:1")}}
	s.carryOut(makePlan(s, testOptions, noon))
	s.runPods(noon, nothingFails)
	if p := makePlan(s, testOptions, noon); len(p.evict) > 0 {
		t.Errorf("%d pods leave", len(p.evict))
	}
	s.nodes[1].CreationTimestamp = metav1.NewTime(noon.Add(time.Second))
	p := makePlan(s, testOptions, noon)
	if len(p.evict) != 1 || p.evict[0] != s.pods[1] {
		t.Errorf("%d pods leave", len(p.evict))
	}
	if ready := p.classes[0].warmth.images[ObjectName("a:1")].ready(); ready != 1 {
		t.Errorf("the image is on %d nodes", ready)
	}

	// It was made for the former node, and got the next one.
	s.pods[1].Status.Conditions = append(s.pods[1].Status.Conditions, corev1.PodCondition{
		Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: s.nodes[1].CreationTimestamp,
	})
	if p := makePlan(s, testOptions, noon); len(p.evict) > 0 {
		t.Error("the pod of the next node leaves it")
	}
}

// The DaemonSet controller rolls nothing while a pod is on a node that it cannot find.
func TestThePodsOfANodeThatIsGoneHoldNoRollUp(t *testing.T) {
	t.Parallel()
	s := state{nodes: testNodes(2), images: []v1alpha1.PrepullImage{inUse("a:1")}}
	s.carryOut(makePlan(s, testOptions, noon))
	s.runPods(noon, nothingFails)
	s.nodes = s.nodes[:1]
	p := makePlan(s, testOptions, noon.Add(orphanTime-time.Second))
	if len(p.evict) > 0 || !p.next.Equal(noon.Add(orphanTime)) {
		t.Errorf("%d pods leave before their node can be known; next at %v", len(p.evict), p.next)
	}
	if p := makePlan(s, testOptions, noon.Add(orphanTime)); len(p.evict) != 1 || p.evict[0] != s.pods[1] || !p.next.IsZero() {
		t.Errorf("%d pods leave; next at %v", len(p.evict), p.next)
	}
}

func TestPodsThatWaitForANodeAreNoRoll(t *testing.T) {
	t.Parallel()
	s := affected(t)
	for range 2 {
		pod := testPod("", noon)
		pod.Labels[v1alpha1.LabelNodeClass] = "linux-amd64"
		pod.Labels[v1alpha1.LabelList] = s.daemonSets[0].Labels[v1alpha1.LabelList]
		s.pods = append(s.pods, pod)
	}
	if p := makePlan(s, testOptions, noon.Add(time.Minute)); len(p.move) != 1 || len(p.write) != 0 {
		t.Errorf("%d to move, %d to write", len(p.move), len(p.write))
	}
}

func TestARollThatStoppedGoesOn(t *testing.T) {
	t.Parallel()
	s := affected(t)
	s.carryOut(makePlan(s, testOptions, noon.Add(time.Minute)))
	if s.daemonSets[0].Spec.UpdateStrategy.Type != appsv1.OnDeleteDaemonSetStrategyType {
		t.Fatal("pods are not kept")
	}
	s.pods[1].Labels[v1alpha1.LabelList] = "another"
	p := makePlan(s, testOptions, noon.Add(2*time.Minute))
	if len(p.write) != 1 || p.write[0].Spec.UpdateStrategy.Type != appsv1.RollingUpdateDaemonSetStrategyType {
		t.Fatalf("%d to move, %d to write", len(p.move), len(p.write))
	}
	s.carryOut(p)
	if p := makePlan(s, testOptions, noon.Add(3*time.Minute)); len(p.move)+len(p.write) != 0 {
		t.Errorf("during the roll: %d to move, %d to write", len(p.move), len(p.write))
	}
}
