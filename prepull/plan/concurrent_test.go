package plan

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/nodeclass"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
	"github.com/kube-prepull/kube-prepull/prepull/warmth"
)

// testRollout is of a class with nodes that lack images.
func testRollout(nodes int, lack map[string]int) *rollout {
	cp, l := &ClassPlan{Class: &nodeclass.Class{}, Warmth: &warmth.Warmth{}, of: map[*Candidate]*ClassImage{}}, &lane{stored: testDaemonSet(testOptions), change: changedList}
	at := map[string]int{}
	for i := range nodes {
		cp.Nodes, at[fmt.Sprint(i)] = append(cp.Nodes, &corev1.Node{}), i
	}
	cp.Pullable = cp.Nodes
	for image, nodes := range lack {
		c := &Candidate{canonical: image}
		w := &warmth.Image{At: at}
		for i := range len(cp.Nodes) - nodes {
			w.SetPresent(i)
		}
		l.list = append(l.list, entry{Candidate: c})
		cp.of[c] = &ClassImage{Candidate: c, Warmth: w}
	}
	return &rollout{ClassPlan: cp, lane: l}
}

func TestConcurrentNodesAreDivided(t *testing.T) {
	t.Parallel()
	still := testRollout(90, map[string]int{"a.test/x:1": 90})
	still.change = changedNothing
	first := testRollout(90, map[string]int{"a.test/x:1": 90})
	first.stored = nil
	full := testRollout(90, map[string]int{"a.test/x:1": 90})
	full.Warmth.Broken = map[string]warmth.Failure{}
	for i := range 90 {
		full.Warmth.Broken[fmt.Sprint(i)] = warmth.Failure{}
	}
	percent := intstr.FromString("10%")
	for name, tc := range map[string]struct {
		configured intstr.IntOrString
		rollouts   []*rollout
		want       []int
	}{
		"one class has all": {intstr.FromInt32(50), []*rollout{testRollout(90, map[string]int{"a.test/x:1": 90})}, []int{50}},
		"two share": {intstr.FromInt32(50), []*rollout{
			testRollout(100, map[string]int{"a.test/x:1": 100}), testRollout(100, map[string]int{"a.test/y:1": 100}),
		}, []int{25, 25}},
		"by their nodes that lack it": {intstr.FromInt32(50), []*rollout{
			testRollout(100, map[string]int{"a.test/x:1": 80}), testRollout(100, map[string]int{"a.test/y:1": 20, "a.test/z:1": 10}),
		}, []int{40, 10}},
		"one goes on in any case": {intstr.FromInt32(2), []*rollout{
			testRollout(100, map[string]int{"a.test/x:1": 100}), testRollout(1, map[string]int{"a.test/y:1": 1}),
		}, []int{1, 2}},
		"who has no more nodes than its share keeps the number": {intstr.FromInt32(50), []*rollout{
			testRollout(2, map[string]int{"a.test/x:1": 2}), testRollout(24, map[string]int{"a.test/y:1": 24}),
		}, []int{50, 50}},
		"of two registries": {intstr.FromInt32(50), []*rollout{
			testRollout(100, map[string]int{"a.test/x:1": 100}), testRollout(100, map[string]int{"b.test/y:1": 100}),
		}, []int{50, 50}},
		"the busier registry decides": {intstr.FromInt32(50), []*rollout{
			testRollout(100, map[string]int{"a.test/x:1": 100, "b.test/x:1": 100}), testRollout(100, map[string]int{"b.test/y:1": 100}),
		}, []int{25, 25}},
		"who does not roll takes nothing, nor who begins": {intstr.FromInt32(50), []*rollout{
			testRollout(100, map[string]int{"a.test/x:1": 100}), still, first,
		}, []int{50, 50, 50}},
		"who has no room takes nothing": {intstr.FromInt32(50), []*rollout{
			testRollout(100, map[string]int{"a.test/x:1": 100}), full,
		}, []int{50, 50}},
		"a share is one of each class": {percent, []*rollout{
			testRollout(100, map[string]int{"a.test/x:1": 100}), testRollout(20, map[string]int{"a.test/y:1": 20}),
		}, []int{10, 2}},
	} {
		t.Run(name, func(t *testing.T) {
			divideConcurrent(tc.rollouts, Options{MaxConcurrentNodes: tc.configured})
			for i, r := range tc.rollouts {
				if r.concurrent != tc.want[i] {
					t.Errorf("class %d may pull on %d nodes at a time, want %d", i, r.concurrent, tc.want[i])
				}
			}
		})
	}
}

// However many classes roll, the sum is what is configured, or one for each; and what was written is written again.
func TestNoRegistryIsAskedByMoreNodesThanConfigured(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	registries := []string{"a.test", "b.test", "c.test"}
	for range 500 {
		o := Options{MaxConcurrentNodes: intstr.FromInt32(1 + random.Int32N(60))}
		var rollouts []*rollout
		for range 1 + random.IntN(12) {
			nodes, lack := 1+random.IntN(300), map[string]int{}
			for _, registry := range registries {
				if random.IntN(2) == 0 {
					lack[registry+"/x:1"] = random.IntN(nodes + 1)
				}
			}
			rollouts = append(rollouts, testRollout(nodes, lack))
		}
		divideConcurrent(rollouts, o)
		for _, registry := range registries {
			sum, classes := 0, 0
			for _, r := range rollouts {
				if r.lacking()[registry] > 0 {
					sum, classes = sum+min(r.concurrent, len(r.Nodes)), classes+1
				}
			}
			if most := o.MaxConcurrentNodes.IntValue(); sum > max(most, 0)+classes {
				t.Fatalf("%d nodes ask %s at a time, %d are allowed and %d classes ask", sum, registry, most, classes)
			}
		}
		for _, r := range rollouts {
			begun := r.surge(changedList, o.MaxConcurrentNodes)
			r.stored.Spec.UpdateStrategy.RollingUpdate.MaxSurge = ptr.To(begun)
			for _, r.state = range []rollState{rolling, settled} {
				if again := r.surge(changedNothing, o.MaxConcurrentNodes); again != begun {
					t.Fatalf("the surge of a roll was %s, and becomes %s in state %d", begun.String(), again.String(), r.state)
				}
			}
		}
	}
}

// Each other number is a write.
func TestARollTakesWhatOthersLeave(t *testing.T) {
	t.Parallel()
	for may, want := range map[int]int{3: 4, 4: 4, 5: 4, 7: 4, 8: 8, 50: 50} {
		r := testRollout(1, nil)
		r.stored.Spec.UpdateStrategy.RollingUpdate.MaxSurge = ptr.To(intstr.FromInt32(4))
		r.state, r.concurrent = rolling, may
		if got := r.surge(changedNothing, intstr.FromInt32(50)); got.IntValue() != want {
			t.Errorf("%d nodes may pull, and a roll that began with 4 goes on with %s, want %d", may, got.String(), want)
		}
	}
}

// Twelve classes are no twelve times as many nodes that pull, neither at first nor with another image.
func TestTwelveClassesPullAsOne(t *testing.T) {
	t.Parallel()
	s := State{}
	for i := range 12 {
		for j := range 4 {
			n := prepulltest.Node(fmt.Sprintf("node-%d-%d", i, j), "amd64")
			n.Labels["pool"] = fmt.Sprint(i)
			s.Nodes = append(s.Nodes, n)
		}
		image := prepulltest.Learned(fmt.Sprintf("a.test/pool-%d:1", i), 1)
		image.Status.Placements = []v1alpha1.Placement{{NodeSelector: map[string]string{"pool": fmt.Sprint(i)}}}
		s.Images = append(s.Images, image)
	}
	p := Make(s, testOptions, prepulltest.Noon)
	if len(p.UpdateInPlace) != 12 || len(p.Roll) != 0 {
		t.Fatalf("at first %d classes begin with an empty list and %d with images, want 12 and 0", len(p.UpdateInPlace), len(p.Roll))
	}
	s.carryOut(p)
	s.runPods(prepulltest.Noon, nothingFails)
	now := prepulltest.Noon.Add(10 * time.Second)
	for round := range 2 {
		p = Make(s, testOptions, now)
		sum := 0
		for _, ds := range p.Roll {
			sum += maxSurgeOf(ds)
		}
		if len(p.Roll) != 12 || sum > 12 {
			t.Errorf("in round %d the lists of %d classes go to %d nodes at a time, want 12 classes with one node each", round, len(p.Roll), sum)
		}
		s.carryOut(p)
		s.runPods(now, nothingFails)
		s.Images = append(s.Images, prepulltest.Learned("a.test/everywhere:1", 1))
		now = now.Add(time.Minute)
	}
}
