package prepull

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// heldNode was created at noon with the taint of the gate behind another one.
func heldNode(name string, effect corev1.TaintEffect) corev1.Node {
	n := testNode(name, "amd64")
	n.UID = types.UID("uid-of-" + name)
	n.CreationTimestamp = metav1.NewTime(noon)
	n.Spec.Taints = []corev1.Taint{{Key: "node.kubernetes.io/not-ready", Effect: "NoSchedule"}, {Key: v1alpha1.TaintWarming, Effect: effect}}
	return n
}

func TestWhenANodeIsLetGo(t *testing.T) {
	t.Parallel()
	g := warmingOptions().Gate
	waiting := progress{outlook: outlookWaiting, images: 3, present: 1, missing: []string{"b:1", "c:1"}}
	ends := noon.Add(5 * time.Minute)
	for name, tc := range map[string]struct {
		progress progress
		edit     func(*corev1.Node)
		since    time.Time // noon if it is zero
		at       time.Time
		reason   releaseReason
		due      time.Time
		words    string
	}{
		"a node that waits is held until the deadline": {progress: waiting, at: noon.Add(time.Minute), due: ends},
		"a warm one is let go":                         {progress: progress{outlook: outlookWarm}, at: noon.Add(time.Minute), reason: releaseWarm},
		"one with nothing to pull is let go":           {progress: progress{outlook: outlookNothing}, at: noon, reason: releaseEmpty},
		"one that lacks what fails is let go, and that is told": {
			progress: progress{outlook: outlookStuck, images: 3, present: 2, trouble: "c:1 cannot be pulled: not found", missing: []string{"c:1"}},
			at:       noon, reason: releaseFailing,
			words: "The node does not wait for images that fail: 2 of 3 images, 0 pulling; c:1 cannot be pulled: not found. Missing: c:1.",
		},
		"one that has trouble is looked at again when that counts": {
			progress: progress{outlook: outlookWaiting, until: noon.Add(time.Minute)}, at: noon, due: noon.Add(time.Minute),
		},
		"one that takes too long is let go, and that is told": {
			progress: waiting, at: ends, reason: releaseDeadline,
			words: "The deadline of 5m0s has passed with 1 of 3 images, 0 pulling. Missing: b:1, c:1.",
		},
		"one that is warm at the deadline is warm": {progress: progress{outlook: outlookWarm}, at: ends, reason: releaseWarm},
		"one that never gets its labels is let go at the deadline": {
			progress: progress{}, at: ends, reason: releaseDeadline, words: "The deadline of 5m0s has passed, and the node has not got all its labels.",
		},
		"whatever the effect": {progress: progress{outlook: outlookWarm}, edit: func(n *corev1.Node) { n.Spec.Taints[1].Effect = "NoExecute" }, at: noon, reason: releaseWarm},
		"whatever the value":  {progress: progress{outlook: outlookWarm}, edit: func(n *corev1.Node) { n.Spec.Taints[1].Value = "true" }, at: noon, reason: releaseWarm},
		"an old one that gets the taint back is let go at once": {
			progress: waiting, since: noon.Add(24 * time.Hour), at: noon.Add(24 * time.Hour), reason: releaseDeadline,
			words: "The deadline of 5m0s has passed with 1 of 3 images, 0 pulling. Missing: b:1, c:1.",
		},
		"one that leaves is left alone":       {progress: waiting, edit: func(n *corev1.Node) { n.DeletionTimestamp = &metav1.Time{Time: noon} }, at: ends},
		"one without the taint is left alone": {progress: waiting, edit: func(n *corev1.Node) { n.Spec.Taints = n.Spec.Taints[:1] }, at: ends},
		"a manager whose clock is an hour behind lets go after the deadline all the same": {
			progress: waiting, since: noon.Add(-time.Hour), at: noon.Add(-55 * time.Minute), reason: releaseDeadline,
			words: "The deadline of 5m0s has passed with 1 of 3 images, 0 pulling. Missing: b:1, c:1.",
		},
		"a manager whose clock is an hour ahead lets go early": {
			progress: waiting, since: noon.Add(time.Hour), at: noon.Add(time.Hour), reason: releaseDeadline,
			words: "The deadline of 5m0s has passed with 1 of 3 images, 0 pulling. Missing: b:1, c:1.",
		},
		"a new manager counts from the creation of the node": {progress: waiting, since: noon.Add(4 * time.Minute), at: noon.Add(4 * time.Minute), due: ends},
	} {
		n := heldNode("a", corev1.TaintEffectNoSchedule)
		if tc.edit != nil {
			tc.edit(&n)
		}
		if tc.since.IsZero() {
			tc.since = noon
		}
		r, due := releaseOf(&n, tc.progress, g, tc.since, tc.at)
		if r == nil {
			r = &release{}
		}
		if r.reason != tc.reason || r.words != tc.words || !due.Equal(tc.due) {
			t.Errorf("%s: %q, due %v, %q; want %q, due %v, %q", name, r.reason, due, r.words, tc.reason, tc.due, tc.words)
		}
		if tc.reason != "" && (len(r.taints) != 1 || r.taints[1].Key != v1alpha1.TaintWarming || r.held < 0) {
			t.Errorf("%s: taints %v, held for %v", name, r.taints, r.held)
		}
	}
}

// What is overdue goes whatever else is known: a plan that is made without knowing all may take a node for a warm one.
func TestWhatIsOverdueWaitsForNothing(t *testing.T) {
	t.Parallel()
	for _, outlook := range []outlook{outlookUnknown, outlookNothing, outlookWaiting, outlookWarm, outlookStuck} {
		n := heldNode("a", corev1.TaintEffectNoSchedule)
		for at, want := range map[time.Time]int{noon.Add(time.Minute): 0, noon.Add(5 * time.Minute): 1} {
			var p plan
			p.planRelease(state{}, &n, progress{outlook: outlook}, warmingOptions().Gate, at)
			if got := len(p.overdue().releases); got != want {
				t.Errorf("%d nodes of outlook %v are overdue %v after their creation, want %d", got, outlook, at.Sub(noon), want)
			}
		}
	}
}

func TestAnEventNamesSomeImages(t *testing.T) {
	t.Parallel()
	var images []string
	for i := range 7 {
		images = append(images, fmt.Sprintf("%c:1", 'a'+i))
	}
	if got, want := missingWords(images), "Missing: a:1, b:1, c:1, d:1, e:1 and 2 more."; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// A plan lets nodes go by what their class has to pull, and by what they have pulled.
func TestThePlanOfAGate(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		edit    func(*state)
		options func(*PlanOptions)
		at      time.Time
		want    map[string]releaseReason
		next    time.Time
	}{
		"a new node beside warm ones": {at: noon, next: noon.Add(5 * time.Minute)},
		"its images have come":        {edit: func(s *state) { s.runPods(noon, nothingFails) }, at: noon, want: map[string]releaseReason{"new": releaseWarm}},
		"it is not Ready yet, and its images have come": {edit: func(s *state) {
			s.runPods(noon, nothingFails)
			s.nodes[2].Status.Conditions[0].Status = corev1.ConditionFalse
		}, at: noon, want: map[string]releaseReason{"new": releaseWarm}},
		"it is never Ready": {edit: func(s *state) { s.nodes[2].Status.Conditions[0].Status = corev1.ConditionFalse }, at: noon.Add(5 * time.Minute), want: map[string]releaseReason{"new": releaseDeadline}},
		"a node of its name had them, and its pod is still there": {edit: func(s *state) {
			s.runPods(noon.Add(-time.Minute), nothingFails)
		}, at: noon, next: noon.Add(5 * time.Minute)},
		"no image has a use on it": {edit: func(s *state) {
			s.nodes[2].Spec.Taints = append(s.nodes[2].Spec.Taints, corev1.Taint{Key: "owner", Value: "data", Effect: "NoSchedule"})
		}, at: noon, want: map[string]releaseReason{"new": releaseEmpty}},
		"it is of another system": {edit: func(s *state) { s.nodes[2].Labels[corev1.LabelOSStable] = "windows" }, at: noon, want: map[string]releaseReason{"new": releaseEmpty}},
		"it is of another system, and has not got its labels": {edit: func(s *state) {
			s.nodes[2].Labels = nil
			s.nodes[2].Spec.Taints[0].Key = "node.cloudprovider.kubernetes.io/uninitialized"
		}, at: noon, next: noon.Add(5 * time.Minute)},
		"Karpenter, which would put the taint back, has not registered it": {edit: func(s *state) {
			s.runPods(noon, nothingFails)
			s.nodes[2].Spec.Taints[0] = corev1.Taint{Key: "karpenter.sh/unregistered", Effect: "NoExecute"}
		}, at: noon, next: noon.Add(5 * time.Minute)},
		"Cluster API has not given it its labels": {edit: func(s *state) {
			s.runPods(noon, nothingFails)
			s.nodes[2].Spec.Taints[0] = corev1.Taint{Key: "node.cluster.x-k8s.io/uninitialized", Effect: "NoSchedule"}
		}, at: noon, next: noon.Add(5 * time.Minute)},
		"the agents of Gardener are not ready, and its images have not come": {edit: func(s *state) {
			s.nodes[2].Spec.Taints[0] = corev1.Taint{Key: "node.gardener.cloud/critical-components-not-ready", Effect: "NoSchedule"}
		}, at: noon, next: noon.Add(5 * time.Minute)},
		"its class begins with an empty list": {options: func(o *PlanOptions) { o.MaxConcurrentNodes.IntVal = 1 }, edit: func(s *state) { s.daemonSets, s.pods = nil, nil }, at: noon, next: noon.Add(5 * time.Minute)},
		"all images are optional":             {edit: func(s *state) { s.images[0].Status.Required = new(bool) }, at: noon, want: map[string]releaseReason{"new": releaseEmpty}},
		"the pull secret of its image is on its way": {edit: func(s *state) {
			s.images = append(s.images, inUse("b:1"))
			s.images[1].Status.PullSecrets = []v1alpha1.SecretReference{{Namespace: "shop", Name: "key"}}
			s.runPods(noon, nothingFails)
		}, at: noon, next: noon.Add(5 * time.Minute)},
		"there is no gate":            {options: func(o *PlanOptions) { o.Gate.Enabled = false }, at: noon.Add(time.Hour)},
		"its taint is of another key": {options: func(o *PlanOptions) { o.Gate.TaintKey = "kube-prepull.io/cold" }, at: noon.Add(time.Hour)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := warmingOptions()
			o.NodeCondition = false
			if tc.options != nil {
				tc.options(&o)
			}
			s := state{nodes: testNodes(2), images: []v1alpha1.PrepullImage{inUse("a:1")}}
			s.carryOut(makePlan(s, o, noon))
			s.runPods(noon, nothingFails)
			s.nodes = append(s.nodes, heldNode("new", corev1.TaintEffectNoSchedule))
			if tc.edit != nil {
				tc.edit(&s)
			}
			p := makePlan(s, o, tc.at)
			var got map[string]releaseReason
			for _, r := range p.releases {
				put(&got, r.node, r.reason)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("let go (-want +got):\n%s", diff)
			}
			if !p.next.Equal(tc.next) {
				t.Errorf("next look at %v, want %v", p.next, tc.next)
			}
			if len(p.conditions) > 0 {
				t.Errorf("conditions %+v", p.conditions)
			}
		})
	}
}

// The taint of the gate, whatever its key, is no reason for a DaemonSet of one's own, and prepull pods go past it.
func TestTheTaintOfTheGateMakesNoClass(t *testing.T) {
	t.Parallel()
	for _, key := range []string{v1alpha1.TaintWarming, "kube-prepull.io/cold", v1alpha1.StartupTaintPrefix + "images"} {
		o := warmingOptions()
		o.Gate.TaintKey = key
		s := state{nodes: testNodes(2), images: []v1alpha1.PrepullImage{inUse("a:1")}}
		before := makePlan(s, o, noon).write[0]
		s.nodes[1].Spec.Taints = []corev1.Taint{{Key: key, Effect: corev1.TaintEffectNoSchedule}}
		p := makePlan(s, o, noon)
		if len(p.write) != 1 || len(p.classes) != 1 {
			t.Fatalf("%s: %d DaemonSets of %d classes", key, len(p.write), len(p.classes))
		}
		if diff := cmp.Diff(before, p.write[0]); diff != "" {
			t.Errorf("%s: a node with the taint changes the DaemonSet:\n%s", key, diff)
		}
		tolerated := 0
		for _, toleration := range p.write[0].Spec.Template.Spec.Tolerations {
			if toleration.Key == key && toleration.Operator == corev1.TolerationOpExists && toleration.Effect == "" {
				tolerated++
			}
		}
		if tolerated != 1 {
			t.Errorf("%s is tolerated %d times", key, tolerated)
		}
	}
}

func TestWhatIsHeldForComesFirst(t *testing.T) {
	t.Parallel()
	s := state{nodes: testNodes(1), images: []v1alpha1.PrepullImage{learnedObject("kept:1", 100), inUse("hot:1"), learnedObject("other:1", 50)}}
	if got := strings.Join(listImages(makePlan(s, warmingOptions(), noon)), " "); got != "hot:1 kept:1 other:1" {
		t.Errorf("the order is %s", got)
	}
}

func listImages(p plan) []string {
	var images []string
	for _, c := range ListOf(p.write[0]) {
		images = append(images, c.Image)
	}
	return images
}
