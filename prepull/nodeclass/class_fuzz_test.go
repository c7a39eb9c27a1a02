package nodeclass

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	schedulingv1 "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
)

// FuzzClassify divides random clusters into classes. What is true of a classification must hold in each, as the scheduler
// and the DaemonSet controller see it.
func FuzzClassify(f *testing.F) {
	for seed := range uint64(400) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		random := rand.New(rand.NewPCG(seed, 0))
		r := randomPlaces{Rand: random, named: random.IntN(4) == 0}
		nodes, wanted := r.nodes(), r.images()
		limit := []int{1, 2, 3, 5, 8, 100, 100, 100}[random.IntN(8)]
		got := classify(nodes, wanted, limit, prepulltest.Noon)
		checkPartition(t, got, nodes, limit)
		checkSelection(t, got, nodes)
		checkUses(t, got, wanted, !r.named)
		checkAnyOrder(t, r, got, nodes, wanted, limit)
		checkNewNode(t, r, got, nodes, wanted, limit)
		checkNewWorkload(t, got, nodes, wanted, limit)
	})
}

// checkPartition checks that every Linux node is in one class, that there are no more classes than may be, and that nothing
// is ignored without need.
func checkPartition(t *testing.T, got classification, nodes []corev1.Node, limit int) {
	t.Helper()
	in := map[string]int{}
	names, archs := map[string]bool{}, map[string]bool{}
	for _, c := range got.Classes {
		for _, n := range c.Nodes {
			in[n.Name]++
		}
		if name := v1alpha1.Name + "-" + c.Name; names[name] || len(validation.IsDNS1123Label(name)) > 0 {
			t.Errorf("the DaemonSet %s exists twice or has no valid name", name)
		}
		names[v1alpha1.Name+"-"+c.Name], archs[c.Arch] = true, true
	}
	for i := range nodes {
		want := 0
		if nodes[i].Labels[corev1.LabelOSStable] == "linux" && nodes[i].Labels[corev1.LabelArchStable] != "" && VirtualBy(&nodes[i]) == "" {
			want = 1
		}
		if in[nodes[i].Name] != want {
			t.Errorf("%s is in %d classes", nodes[i].Name, in[nodes[i].Name])
		}
	}
	if len(got.Classes) > max(limit, len(archs)) {
		t.Errorf("%d classes, at most %d are allowed", len(got.Classes), limit)
	}
	if ignored := append(slices.Clone(got.ignoredKeys), got.ignoredResources...); limit == 100 && (len(ignored) > 0 || got.ignoredTaints) {
		t.Errorf("%v are ignored, and taints: %v, though there are %d classes", ignored, got.ignoredTaints, len(got.Classes))
	}
}

// checkSelection checks that a DaemonSet gets a pod on all nodes of its class but full ones, and on no others. Nodes are
// also looked at in other states than they are in.
func checkSelection(t *testing.T, got classification, nodes []corev1.Node) {
	t.Helper()
	for _, c := range got.Classes {
		required := nodeaffinity.NewRequiredNodeAffinity(nil, c.Affinity())
		tolerations := c.Tolerations("")
		for i := range nodes {
			n := nodes[i].DeepCopy()
			for _, key := range lifecycleTaints {
				n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: key, Effect: corev1.TaintEffectNoExecute})
			}
			matches, err := required.Match(n)
			if err != nil {
				t.Errorf("affinity of %s: %v", c.Name, err)
			}
			_, repelled := schedulingv1.FindMatchingUntoleratedTaint(logr.Discard(), n.Spec.Taints, tolerations, hardTaint, false)
			member := slices.ContainsFunc(c.Nodes, func(m *corev1.Node) bool { return m.Name == n.Name })
			if want := member && !UnderPressure(n); (matches && !repelled) != want {
				t.Errorf("%s gets a pod of %s: %v, want %v", n.Name, c.Name, !want, want)
			}
		}
	}
}

func hardTaint(taint *corev1.Taint) bool { return taint.Effect != corev1.TaintEffectPreferNoSchedule }

// checkUses checks that images are in the classes with a node that fits a user. If nothing is ignored, and no placement
// names nodes, it fits each node. A young node may be there for what it is expected to offer.
func checkUses(t *testing.T, got classification, wanted [][]v1alpha1.Placement, exact bool) {
	t.Helper()
	exact = exact && len(got.ignoredKeys)+len(got.ignoredResources) == 0 && !got.ignoredTaints
	for _, c := range got.Classes {
		for i, image := range wanted {
			fitting, young := 0, 0
			for _, n := range c.Nodes {
				if schedulable(image, n) {
					fitting++
				} else if !n.CreationTimestamp.IsZero() {
					young++
				}
			}
			found := c.Fits(i)
			if !found && fitting > 0 || found && fitting+young == 0 || found && exact && fitting+young < len(c.Nodes) {
				t.Errorf("image %d is placed on %s: %v, but fits %d of its %d nodes (%d are young)", i, c.Name, found, fitting, len(c.Nodes), young)
			}
		}
	}
}

// schedulable tells what the scheduler would say of a pod that uses an image.
func schedulable(image []v1alpha1.Placement, n *corev1.Node) bool {
	return len(image) == 0 || slices.ContainsFunc(image, func(p v1alpha1.Placement) bool {
		pod := &corev1.Pod{Spec: corev1.PodSpec{NodeSelector: p.NodeSelector}}
		if p.NodeAffinity != nil {
			pod.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: p.NodeAffinity}}
		}
		matches, _ := nodeaffinity.GetRequiredNodeAffinity(pod).Match(n)
		_, repelled := schedulingv1.FindMatchingUntoleratedTaint(logr.Discard(), n.Spec.Taints, p.Tolerations, func(taint *corev1.Taint) bool {
			return hardTaint(taint) && (taint.Key == "dedicated" || taint.Key == "gpu" || taint.Key == "example.com/gpu" || taint.Key == virtualTaint)
		}, false)
		for _, name := range p.Resources {
			if has := n.Status.Allocatable[corev1.ResourceName(name)]; has.Value() == 0 && !slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == name }) {
				return false
			}
		}
		return matches && !repelled
	})
}

func checkAnyOrder(t *testing.T, r randomPlaces, got classification, nodes []corev1.Node, wanted [][]v1alpha1.Placement, limit int) {
	t.Helper()
	nodes = slices.Clone(nodes)
	r.Shuffle(len(nodes), func(i, j int) { nodes[i], nodes[j] = nodes[j], nodes[i] })
	order := r.Perm(len(wanted))
	shuffled := make([][]v1alpha1.Placement, len(wanted))
	for i, image := range order {
		shuffled[i] = wanted[image]
	}
	again := shown(classify(nodes, shuffled, limit, prepulltest.Noon), true)
	for name, c := range again {
		for i, image := range c.Images {
			c.Images[i] = order[image]
		}
		slices.Sort(c.Images)
		again[name] = c
	}
	if diff := cmp.Diff(shown(got, true), again); diff != "" {
		t.Errorf("in another order (-was +is):\n%s", diff)
	}
}

// checkNewNode checks that one more node like an untainted one changes no DaemonSet, unless only its name could tell what it
// offers.
func checkNewNode(t *testing.T, r randomPlaces, got classification, nodes []corev1.Node, wanted [][]v1alpha1.Placement, limit int) {
	t.Helper()
	like := nodes[r.IntN(len(nodes))].DeepCopy()
	listed := slices.ContainsFunc(got.Classes, func(c *Class) bool {
		return c.listed && slices.ContainsFunc(c.Nodes, func(n *corev1.Node) bool { return n.Name == like.Name })
	})
	if len(lastingTaints(like)) > 0 || UnderPressure(like) || listed || VirtualBy(like) != "" {
		return
	}
	like.Name = "one-more"
	like.Labels[corev1.LabelHostname] = like.Name
	if diff := cmp.Diff(shown(got, false), shown(classify(append(slices.Clone(nodes), *like), wanted, limit, prepulltest.Noon), false)); diff != "" {
		t.Errorf("with one more node (-was +is):\n%s", diff)
	}
}

// checkNewWorkload checks that a placement with a key that no node carries renames no class.
func checkNewWorkload(t *testing.T, got classification, nodes []corev1.Node, wanted [][]v1alpha1.Placement, limit int) {
	t.Helper()
	image := []v1alpha1.Placement{{NodeSelector: map[string]string{"a-new-key": "x"}}}
	after := classify(nodes, append(slices.Clone(wanted), image), limit, prepulltest.Noon)
	names := func(c classification) []string { return slices.Sorted(maps.Keys(shown(c, false))) }
	if diff := cmp.Diff(names(got), names(after)); diff != "" {
		t.Errorf("with one more workload (-was +is):\n%s", diff)
	}
}

// shownClass is what a DaemonSet makes of a class, and who is in it.
type shownClass struct {
	Affinity       *corev1.Affinity
	Tolerations    []corev1.Toleration
	Nodes, Waiting []string
	Images         []int
}

func shown(got classification, members bool) map[string]shownClass {
	classes := map[string]shownClass{}
	for _, c := range got.Classes {
		s := shownClass{Affinity: c.Affinity(), Tolerations: c.Tolerations("")}
		if members {
			s.Nodes, s.Waiting, s.Images = nodeNames(c.Nodes), nodeNames(c.Pullable), images(c)
		}
		classes[c.Name] = s
	}
	return classes
}

// images are the indexes of those with a use in a class.
func images(c *Class) []int {
	var found []int
	for i, fits := range c.fitting {
		if fits {
			found = append(found, i)
		}
	}
	return found
}

// randomPlaces makes clusters whose nodes and placements share a few labels and taints. Only with named do placements name
// nodes.
type randomPlaces struct {
	*rand.Rand
	named bool
}

func oneOf[T any](r randomPlaces, values ...T) T { return values[r.IntN(len(values))] }

func (r randomPlaces) key() string {
	if r.named && r.IntN(4) == 0 {
		return corev1.LabelHostname
	}
	if r.IntN(20) == 0 {
		return oneOf(r, "", "not a key!", "a/b/c")
	}
	return oneOf(r, "pool", "zone", "gpu", "size", "example.com/tier", corev1.LabelArchStable)
}

func (r randomPlaces) nodes() []corev1.Node {
	var nodes []corev1.Node
	for i := range 1 + r.IntN(14) {
		n := prepulltest.Node(fmt.Sprintf("node-%d", i), oneOf(r, "amd64", "amd64", "arm64"))
		for _, key := range []string{"pool", "zone", "gpu", "dedicated", "size", "unmentioned"} {
			if r.IntN(3) == 0 {
				n.Labels[key] = oneOf(r, "a", "b", "1", "10", "", "X_y.z-1")
			}
		}
		for range r.IntN(3) * r.IntN(2) {
			n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{
				Key: oneOf(r, "dedicated", "gpu", "dedicated", "gpu", "example.com/gpu", corev1.TaintNodeUnreachable, v1alpha1.TaintWarming,
					"node.cilium.io/agent-not-ready", "startup-taint.cluster-autoscaler.kubernetes.io/x", "readiness.k8s.io/x"),
				Value:     oneOf(r, "", "a", "b"),
				Effect:    oneOf(r, corev1.TaintEffectNoSchedule, corev1.TaintEffectNoExecute, corev1.TaintEffectPreferNoSchedule),
				TimeAdded: oneOf(r, nil, &metav1.Time{Time: prepulltest.Noon}),
			})
		}
		for _, name := range []string{"example.com/gpu", "example.com/rdma"} {
			if r.IntN(3) == 0 {
				n.Status.Allocatable = corev1.ResourceList{corev1.ResourceName(name): *resource.NewQuantity(r.Int64N(3), resource.DecimalSI)}
			}
		}
		if r.IntN(4) == 0 {
			n.CreationTimestamp.Time = prepulltest.Noon.Add(-time.Minute)
		}
		switch r.IntN(30) {
		case 20:
			n.Labels["type"] = "virtual-kubelet"
		case 21:
			n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: virtualTaint, Effect: corev1.TaintEffectNoSchedule})
		case 0:
			n.Labels[corev1.LabelOSStable] = "windows"
		case 1:
			delete(n.Labels, corev1.LabelArchStable)
		case 2:
			n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: corev1.NodeDiskPressure, Status: corev1.ConditionTrue})
		case 3:
			n.Spec.Unschedulable = true
		}
		nodes = append(nodes, n)
	}
	return nodes
}

func (r randomPlaces) images() [][]v1alpha1.Placement {
	var wanted [][]v1alpha1.Placement
	for range r.IntN(8) {
		var image []v1alpha1.Placement
		for range r.IntN(3) {
			image = append(image, r.placement())
		}
		wanted = append(wanted, image)
	}
	return wanted
}

func (r randomPlaces) placement() v1alpha1.Placement {
	p := v1alpha1.Placement{}
	for range r.IntN(2) * r.IntN(3) {
		if p.NodeSelector == nil {
			p.NodeSelector = map[string]string{}
		}
		p.NodeSelector[r.key()] = r.value()
	}
	if r.IntN(2) == 0 {
		p.NodeAffinity = &corev1.NodeSelector{}
		for range r.IntN(3) {
			p.NodeAffinity.NodeSelectorTerms = append(p.NodeAffinity.NodeSelectorTerms, r.term())
		}
	}
	for range r.IntN(3) {
		p.Tolerations = append(p.Tolerations, corev1.Toleration{
			Key:      oneOf(r, "dedicated", "gpu", "example.com/gpu", ""),
			Operator: oneOf(r, corev1.TolerationOpExists, corev1.TolerationOpEqual, ""),
			Value:    oneOf(r, "", "a"),
			Effect:   oneOf(r, "", corev1.TaintEffectNoSchedule, corev1.TaintEffectNoExecute),
		})
	}
	if r.IntN(3) == 0 {
		p.Resources = oneOf(r, []string{"example.com/gpu"}, []string{"example.com/rdma"}, []string{"example.com/gpu", "example.com/rdma"}, []string{"example.com/none"})
	}
	return p
}

func (r randomPlaces) value() string {
	return oneOf(r, "a", "b", "1", "10", "amd64", "X_y.z-1", "", "not a label!", fmt.Sprintf("node-%d", r.IntN(14)))
}

func (r randomPlaces) term() corev1.NodeSelectorTerm {
	term := corev1.NodeSelectorTerm{}
	for range r.IntN(3) {
		term.MatchExpressions = append(term.MatchExpressions, oneOf(r,
			Require(r.key(), corev1.NodeSelectorOpIn, r.value(), r.value()),
			Require(r.key(), corev1.NodeSelectorOpNotIn, r.value()),
			Require(r.key(), corev1.NodeSelectorOpExists),
			Require(r.key(), corev1.NodeSelectorOpDoesNotExist),
			Require(r.key(), corev1.NodeSelectorOpGt, oneOf(r, "0", "5", "many")),
			Require(r.key(), corev1.NodeSelectorOpLt, oneOf(r, "0", "5", "1e3")),
			Require(r.key(), "Like", "a"),
		))
	}
	if r.named && r.IntN(3) == 0 {
		term.MatchFields = append(term.MatchFields, Require(metav1.ObjectNameField, corev1.NodeSelectorOpIn, fmt.Sprintf("node-%d", r.IntN(14))))
	}
	return term
}
