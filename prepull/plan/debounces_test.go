package plan

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/clock"
	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/nodeclass"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
	"github.com/kube-prepull/kube-prepull/prepull/warmth"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// A node that joins a class, and pulls for long, holds back the lists of its own class alone.
func TestANodeThatJoinsHoldsBackNoOtherClass(t *testing.T) {
	t.Parallel()
	s := State{
		Nodes:  []corev1.Node{prepulltest.Node("web-0", "amd64"), prepulltest.Node("gpu-0", "arm64"), prepulltest.Node("gpu-1", "arm64")},
		Images: []v1alpha1.PrepullImage{inUse("a:1"), inUse("b:1")},
	}
	s.settle(t, warmingOptions(), none)
	joined := prepulltest.Noon.Add(time.Hour)
	s.Nodes[2].CreationTimestamp = metav1.NewTime(joined)
	for i, pod := range s.Pods {
		if pod.Spec.NodeName != "gpu-1" {
			continue
		}
		waits := []string{warmth.InstallContainer}
		for _, l := range ListOf(s.DaemonSet("kube-prepull-linux-arm64")) {
			waits = append(waits, l.Name)
		}
		s.Pods[i] = prepulltest.Pod("gpu-1", joined, prepulltest.Done(waits[0], 0, 1), prepulltest.Waits(waits[1], "PodInitializing", ""), prepulltest.Waits(waits[2], "PodInitializing", ""))
		s.Pods[i].Labels = pod.Labels
	}
	s.Images = append(s.Images, inUse("new:1"))

	d := Debounces{Clocks: clock.Production()}
	written := map[string]time.Duration{}
	for after := time.Duration(0); after < time.Minute && len(written) < 2; after += time.Second {
		now := joined.Add(after)
		p := Make(s, warmingOptions(), now)
		waits := d.Wait(p.Classes, now)
		if len(written) == 1 && waits["linux-arm64"] > d.Clocks.MinGap && d.Gathering(waits) {
			t.Fatalf("after %s the statuses of all wait for one class: %v", after, waits)
		}
		p.Roll = waits.Due(p.Roll)
		for _, ds := range p.Roll {
			written[classOf(ds)] = after
		}
		d.Done(p.Roll, now)
		s.carryOut(Plan{Roll: p.Roll})
	}
	want := map[string]time.Duration{"linux-amd64": d.Clocks.GatherTime, "linux-arm64": d.Clocks.JoinGap}
	if diff := cmp.Diff(want, written); diff != "" {
		t.Errorf("lists are written after (-want +got):\n%s", diff)
	}
	if s.status(workload.ObjectName("new:1")).Ready != "" {
		t.Error("the test carries out more than lists")
	}
}

// What changes in one class neither makes another one wait nor hurries it, and one that is gone is forgotten.
func TestClassesAreDebouncedByThemselves(t *testing.T) {
	t.Parallel()
	class := func(name string, why reasons) *ClassPlan {
		return &ClassPlan{Class: &nodeclass.Class{Name: name}, Reasons: why}
	}
	of := func(name string) []*appsv1.DaemonSet {
		return []*appsv1.DaemonSet{{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{v1alpha1.LabelNodeClass: name}}}}
	}
	d := Debounces{Clocks: clock.Production()}
	urgent, ordinary, none := reasons{failing: true, urgent: true}, reasons{Ordinary: true}, reasons{}
	for i, step := range []struct {
		second    int
		a, b      reasons
		wait      Waits
		gathering bool
		done      string
	}{
		{0, urgent, ordinary, Waits{"b": 2 * time.Second}, true, "a"},
		{1, ordinary, ordinary, Waits{"a": 7 * time.Second, "b": time.Second}, true, ""},
		{2, ordinary, ordinary, Waits{"a": 6 * time.Second}, true, "b"},
		{3, ordinary, none, Waits{"a": 5 * time.Second}, true, "b"},
		{4, urgent, ordinary, Waits{"b": 6 * time.Second}, true, "a"},
	} {
		now := prepulltest.Noon.Add(time.Duration(step.second) * time.Second)
		waits := d.Wait([]*ClassPlan{class("a", step.a), class("b", step.b)}, now)
		if diff := cmp.Diff(step.wait, waits); diff != "" || d.Gathering(waits) != step.gathering {
			t.Errorf("step %d: gathering %v, waits (-want +got):\n%s", i, d.Gathering(waits), diff)
		}
		if len(waits.Due(of("a"))) > 0 != (waits["a"] == 0) || waits.Shortest() > max(waits["a"], waits["b"]) {
			t.Errorf("step %d: due %v, the shortest is %s", i, waits.Due(of("a")), waits.Shortest())
		}
		if step.done != "" {
			d.Done(of(step.done), now)
		}
	}
	if d.Wait([]*ClassPlan{class("b", none)}, prepulltest.Noon.Add(5*time.Second)); len(d.of) != 1 {
		t.Errorf("%d classes are remembered", len(d.of))
	}
}
