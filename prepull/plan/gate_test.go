package plan

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
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
	"github.com/kube-prepull/kube-prepull/prepull/warmth"
)

// heldNode was created at noon with the taint of the gate behind another one.
func heldNode(name string, effect corev1.TaintEffect) corev1.Node {
	n := prepulltest.Node(name, "amd64")
	n.UID = types.UID("uid-of-" + name)
	n.CreationTimestamp = metav1.NewTime(prepulltest.Noon)
	n.Spec.Taints = []corev1.Taint{{Key: "node.kubernetes.io/not-ready", Effect: "NoSchedule"}, {Key: v1alpha1.TaintWarming, Effect: effect}}
	return n
}

func TestWhenANodeIsUntainted(t *testing.T) {
	t.Parallel()
	g := warmingOptions().Gate
	waiting := progress{outlook: outlookWaiting, images: 3, present: 1, missing: []string{"b:1", "c:1"}}
	ends := prepulltest.Noon.Add(5 * time.Minute)
	for name, tc := range map[string]struct {
		progress progress
		edit     func(*corev1.Node)
		since    time.Time // noon if it is zero
		at       time.Time
		reason   ReleaseReason
		due      time.Time
		words    string
	}{
		"a node that waits is held until the deadline": {progress: waiting, at: prepulltest.Noon.Add(time.Minute), due: ends},
		"a warm one is untainted":                      {progress: progress{outlook: outlookWarm}, at: prepulltest.Noon.Add(time.Minute), reason: ReleaseWarm},
		"one with nothing to pull is untainted":        {progress: progress{outlook: outlookNothing}, at: prepulltest.Noon, reason: ReleaseEmpty},
		"one that lacks what fails is untainted, and that is told": {
			progress: progress{outlook: outlookStuck, images: 3, present: 2, trouble: "c:1 cannot be pulled: not found", missing: []string{"c:1"}},
			at:       prepulltest.Noon, reason: ReleaseFailing,
			words: "The node does not wait for images that fail: 2 of 3 images, 0 pulling; c:1 cannot be pulled: not found. Missing: c:1.",
		},
		"one that has trouble is looked at again when that counts": {
			progress: progress{outlook: outlookWaiting, until: prepulltest.Noon.Add(time.Minute)}, at: prepulltest.Noon, due: prepulltest.Noon.Add(time.Minute),
		},
		"one that takes too long is untainted, and that is told": {
			progress: waiting, at: ends, reason: ReleaseDeadline,
			words: "The deadline of 5m0s has passed with 1 of 3 images, 0 pulling. Missing: b:1, c:1.",
		},
		"one that is warm at the deadline is warm": {progress: progress{outlook: outlookWarm}, at: ends, reason: ReleaseWarm},
		"one that never gets its labels is untainted at the deadline": {
			progress: progress{}, at: ends, reason: ReleaseDeadline, words: "The deadline of 5m0s has passed, and the node has not got all its labels.",
		},
		"whatever the effect": {progress: progress{outlook: outlookWarm}, edit: func(n *corev1.Node) { n.Spec.Taints[1].Effect = "NoExecute" }, at: prepulltest.Noon, reason: ReleaseWarm},
		"whatever the value":  {progress: progress{outlook: outlookWarm}, edit: func(n *corev1.Node) { n.Spec.Taints[1].Value = "true" }, at: prepulltest.Noon, reason: ReleaseWarm},
		"an old one that gets the taint back is untainted at once": {
			progress: waiting, since: prepulltest.Noon.Add(24 * time.Hour), at: prepulltest.Noon.Add(24 * time.Hour), reason: ReleaseDeadline,
			words: "The deadline of 5m0s has passed with 1 of 3 images, 0 pulling. Missing: b:1, c:1.",
		},
		"one that leaves is left alone":       {progress: waiting, edit: func(n *corev1.Node) { n.DeletionTimestamp = &metav1.Time{Time: prepulltest.Noon} }, at: ends},
		"one without the taint is left alone": {progress: waiting, edit: func(n *corev1.Node) { n.Spec.Taints = n.Spec.Taints[:1] }, at: ends},
		"a manager whose clock is an hour behind untaints it after the deadline all the same": {
			progress: waiting, since: prepulltest.Noon.Add(-time.Hour), at: prepulltest.Noon.Add(-55 * time.Minute), reason: ReleaseDeadline,
			words: "The deadline of 5m0s has passed with 1 of 3 images, 0 pulling. Missing: b:1, c:1.",
		},
		"a manager whose clock is an hour ahead untaints it early": {
			progress: waiting, since: prepulltest.Noon.Add(time.Hour), at: prepulltest.Noon.Add(time.Hour), reason: ReleaseDeadline,
			words: "The deadline of 5m0s has passed with 1 of 3 images, 0 pulling. Missing: b:1, c:1.",
		},
		"a new manager counts from the creation of the node": {progress: waiting, since: prepulltest.Noon.Add(4 * time.Minute), at: prepulltest.Noon.Add(4 * time.Minute), due: ends},
	} {
		n := heldNode("a", corev1.TaintEffectNoSchedule)
		if tc.edit != nil {
			tc.edit(&n)
		}
		if tc.since.IsZero() {
			tc.since = prepulltest.Noon
		}
		r, due := releaseOf(&n, tc.progress, g, tc.since, tc.at)
		if r == nil {
			r = &Release{}
		}
		if r.Reason != tc.reason || r.Words != tc.words || !due.Equal(tc.due) {
			t.Errorf("%s: %q, due %v, %q; want %q, due %v, %q", name, r.Reason, due, r.Words, tc.reason, tc.due, tc.words)
		}
		if tc.reason != "" && (len(r.Taints) != 1 || r.Taints[1].Key != v1alpha1.TaintWarming || r.Held < 0) {
			t.Errorf("%s: taints %v, held for %v", name, r.Taints, r.Held)
		}
	}
}

// What is overdue goes whatever else is known: a plan that is made without knowing all may take a node for a warm one.
func TestWhatIsOverdueWaitsForNothing(t *testing.T) {
	t.Parallel()
	for _, outlook := range []outlook{outlookUnknown, outlookNothing, outlookWaiting, outlookWarm, outlookStuck} {
		n := heldNode("a", corev1.TaintEffectNoSchedule)
		for at, want := range map[time.Time]int{prepulltest.Noon.Add(time.Minute): 0, prepulltest.Noon.Add(5 * time.Minute): 1} {
			var p Plan
			p.planRelease(State{}, &n, progress{outlook: outlook}, warmingOptions().Gate, at)
			if got := len(p.Overdue().Releases); got != want {
				t.Errorf("%d nodes of outlook %v are overdue %v after their creation, want %d", got, outlook, at.Sub(prepulltest.Noon), want)
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

// A plan untaints nodes by what their class has to pull, and by what they have pulled.
func TestThePlanOfAGate(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		edit    func(*State)
		options func(*Options)
		at      time.Time
		want    map[string]ReleaseReason
		next    time.Time
	}{
		"a new node beside warm ones": {at: prepulltest.Noon, next: prepulltest.Noon.Add(5 * time.Minute)},
		"its images have come":        {edit: func(s *State) { s.runPods(prepulltest.Noon, nothingFails) }, at: prepulltest.Noon, want: map[string]ReleaseReason{"new": ReleaseWarm}},
		"it is not Ready yet, and its images have come": {edit: func(s *State) {
			s.runPods(prepulltest.Noon, nothingFails)
			s.Nodes[2].Status.Conditions[0].Status = corev1.ConditionFalse
		}, at: prepulltest.Noon, want: map[string]ReleaseReason{"new": ReleaseWarm}},
		"it is never Ready": {edit: func(s *State) { s.Nodes[2].Status.Conditions[0].Status = corev1.ConditionFalse }, at: prepulltest.Noon.Add(5 * time.Minute), want: map[string]ReleaseReason{"new": ReleaseDeadline}},
		"a node of its name had them, and its pod is still there": {edit: func(s *State) {
			s.runPods(prepulltest.Noon.Add(-time.Minute), nothingFails)
		}, at: prepulltest.Noon, next: prepulltest.Noon.Add(5 * time.Minute)},
		"no image has a use on it": {edit: func(s *State) {
			s.Nodes[2].Spec.Taints = append(s.Nodes[2].Spec.Taints, corev1.Taint{Key: "owner", Value: "data", Effect: "NoSchedule"})
		}, at: prepulltest.Noon, want: map[string]ReleaseReason{"new": ReleaseEmpty}},
		"it is of another system": {edit: func(s *State) { s.Nodes[2].Labels[corev1.LabelOSStable] = "windows" }, at: prepulltest.Noon, want: map[string]ReleaseReason{"new": ReleaseEmpty}},
		"it is of another system, and has not got its labels": {edit: func(s *State) {
			s.Nodes[2].Labels = nil
			s.Nodes[2].Spec.Taints[0].Key = "node.cloudprovider.kubernetes.io/uninitialized"
		}, at: prepulltest.Noon, next: prepulltest.Noon.Add(5 * time.Minute)},
		"Karpenter, which would put the taint back, has not registered it": {edit: func(s *State) {
			s.runPods(prepulltest.Noon, nothingFails)
			s.Nodes[2].Spec.Taints[0] = corev1.Taint{Key: "karpenter.sh/unregistered", Effect: "NoExecute"}
		}, at: prepulltest.Noon, next: prepulltest.Noon.Add(5 * time.Minute)},
		"Cluster API has not given it its labels": {edit: func(s *State) {
			s.runPods(prepulltest.Noon, nothingFails)
			s.Nodes[2].Spec.Taints[0] = corev1.Taint{Key: "node.cluster.x-k8s.io/uninitialized", Effect: "NoSchedule"}
		}, at: prepulltest.Noon, next: prepulltest.Noon.Add(5 * time.Minute)},
		"the agents of Gardener are not ready, and its images have not come": {edit: func(s *State) {
			s.Nodes[2].Spec.Taints[0] = corev1.Taint{Key: "node.gardener.cloud/critical-components-not-ready", Effect: "NoSchedule"}
		}, at: prepulltest.Noon, next: prepulltest.Noon.Add(5 * time.Minute)},
		"its class begins with an empty list": {options: func(o *Options) { o.MaxConcurrentNodes.IntVal = 1 }, edit: func(s *State) { s.DaemonSets, s.Pods = nil, nil }, at: prepulltest.Noon, next: prepulltest.Noon.Add(5 * time.Minute)},
		"all images are optional":             {edit: func(s *State) { s.Images[0].Status.Required = new(bool) }, at: prepulltest.Noon, want: map[string]ReleaseReason{"new": ReleaseEmpty}},
		"the pull secret of its image is on its way": {edit: func(s *State) {
			s.Images = append(s.Images, inUse("b:1"))
			s.Images[1].Status.PullSecrets = []v1alpha1.SecretReference{{Namespace: "shop", Name: "key"}}
			s.runPods(prepulltest.Noon, nothingFails)
		}, at: prepulltest.Noon, next: prepulltest.Noon.Add(5 * time.Minute)},
		"there is no gate":            {options: func(o *Options) { o.Gate.Enabled = false }, at: prepulltest.Noon.Add(time.Hour)},
		"its taint is of another key": {options: func(o *Options) { o.Gate.TaintKey = "kube-prepull.io/cold" }, at: prepulltest.Noon.Add(time.Hour)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := warmingOptions()
			o.NodeCondition = false
			if tc.options != nil {
				tc.options(&o)
			}
			s := State{Nodes: prepulltest.Nodes(2), Images: []v1alpha1.PrepullImage{inUse("a:1")}}
			s.carryOut(Make(s, o, prepulltest.Noon))
			s.runPods(prepulltest.Noon, nothingFails)
			s.Nodes = append(s.Nodes, heldNode("new", corev1.TaintEffectNoSchedule))
			if tc.edit != nil {
				tc.edit(&s)
			}
			p := Make(s, o, tc.at)
			var got map[string]ReleaseReason
			for _, r := range p.Releases {
				warmth.Put(&got, r.Node, r.Reason)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("untainted (-want +got):\n%s", diff)
			}
			if !p.Next.Equal(tc.next) {
				t.Errorf("next look at %v, want %v", p.Next, tc.next)
			}
			if len(p.Conditions) > 0 {
				t.Errorf("conditions %+v", p.Conditions)
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
		s := State{Nodes: prepulltest.Nodes(2), Images: []v1alpha1.PrepullImage{inUse("a:1")}}
		before := Make(s, o, prepulltest.Noon).Roll[0]
		s.Nodes[1].Spec.Taints = []corev1.Taint{{Key: key, Effect: corev1.TaintEffectNoSchedule}}
		p := Make(s, o, prepulltest.Noon)
		if len(p.Roll) != 1 || len(p.Classes) != 1 {
			t.Fatalf("%s: %d DaemonSets of %d classes", key, len(p.Roll), len(p.Classes))
		}
		if diff := cmp.Diff(before, p.Roll[0]); diff != "" {
			t.Errorf("%s: a node with the taint changes the DaemonSet:\n%s", key, diff)
		}
		tolerated := 0
		for _, toleration := range p.Roll[0].Spec.Template.Spec.Tolerations {
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
	s := State{Nodes: prepulltest.Nodes(1), Images: []v1alpha1.PrepullImage{prepulltest.Learned("kept:1", 100), inUse("hot:1"), prepulltest.Learned("other:1", 50)}}
	if got := strings.Join(listImages(Make(s, warmingOptions(), prepulltest.Noon)), " "); got != "hot:1 kept:1 other:1" {
		t.Errorf("the order is %s", got)
	}
}

func listImages(p Plan) []string {
	var images []string
	for _, c := range ListOf(p.Roll[0]) {
		images = append(images, c.Image)
	}
	return images
}
