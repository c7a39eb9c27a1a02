package nodeclass

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
)

func TestClassify(t *testing.T) {
	t.Parallel()
	windows := prepulltest.Node("windows", "amd64")
	windows.Labels[corev1.LabelOSStable] = "windows"
	unlabelled := prepulltest.Node("unlabelled", "amd64")
	delete(unlabelled.Labels, corev1.LabelArchStable)
	odd := prepulltest.Node("odd", "AMD_64")
	cordoned := prepulltest.Node("cordoned", "amd64")
	cordoned.Spec.Unschedulable = true
	notReady := prepulltest.Node("not-ready", "amd64")
	notReady.Status.Conditions[0].Status = corev1.ConditionUnknown
	young := prepulltest.Node("young", "amd64")
	young.Status.Conditions = nil
	leaving := prepulltest.Node("leaving", "amd64")
	leaving.DeletionTimestamp = &metav1.Time{Time: prepulltest.Noon}
	full := fullNode("full")
	longest := strings.Repeat("a", maxBaseLength-len("linux-"))

	type class struct {
		Name           string
		Nodes, Waiting []string
	}
	for name, tc := range map[string]struct {
		nodes []corev1.Node
		want  []class
	}{
		"no nodes, no classes": {nil, nil},
		"one class for each architecture, by name": {
			[]corev1.Node{prepulltest.Node("c", "arm64"), prepulltest.Node("b", "amd64"), prepulltest.Node("a", "amd64")},
			[]class{{"linux-amd64", []string{"a", "b"}, []string{"a", "b"}}, {"linux-arm64", []string{"c"}, []string{"c"}}},
		},
		"other systems and unknown architectures have no class": {[]corev1.Node{windows, unlabelled, odd}, nil},
		"neither has an architecture that is too long for a name": {
			[]corev1.Node{prepulltest.Node("longest", longest), prepulltest.Node("longer", longest+"a")},
			[]class{{"linux-" + longest, []string{"longest"}, []string{"longest"}}},
		},
		"nobody waits for a node that cannot pull now": {
			[]corev1.Node{cordoned, notReady, young, leaving, full, prepulltest.Node("well", "amd64")},
			[]class{{"linux-amd64", []string{"cordoned", "full", "leaving", "not-ready", "well", "young"}, []string{"well"}}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []class
			for _, c := range classify(tc.nodes, nil, 30, prepulltest.Noon).Classes {
				got = append(got, class{c.Name, nodeNames(c.Nodes), nodeNames(c.Pullable)})
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("classes (-want +got):\n%s", diff)
			}
		})
	}
}

func nodeNames(nodes []*corev1.Node) []string {
	var names []string
	for _, n := range nodes {
		names = append(names, n.Name)
	}
	return names
}

func TestPlaceOn(t *testing.T) {
	t.Parallel()
	nodes := []corev1.Node{prepulltest.Node("amd", "amd64"), prepulltest.Node("arm", "arm64")}
	nodes[1].Labels["pool"] = "big"
	for name, tc := range map[string]struct {
		selector map[string]string
		want     []string
	}{
		"no selector means everywhere":                   {nil, []string{"amd", "arm"}},
		"an architecture is a class":                     {map[string]string{corev1.LabelArchStable: "arm64"}, []string{"arm"}},
		"another label means nodes that carry it":        {map[string]string{"pool": "big"}, []string{"arm"}},
		"all labels must match the same node":            {map[string]string{"pool": "big", corev1.LabelArchStable: "amd64"}, nil},
		"a label that no node has means nowhere":         {map[string]string{"pool": "small"}, nil},
		"another operating system has no class of nodes": {map[string]string{corev1.LabelOSStable: "windows"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, c := range classify(nodes, [][]v1alpha1.Placement{{{NodeSelector: tc.selector}}}, 30, prepulltest.Noon).Classes {
				if c.Fits(0) {
					got = append(got, nodeNames(c.Nodes)...)
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("nodes (-want +got):\n%s", diff)
			}
		})
	}
}

// nodeWith is an amd64 node with labels, such as pool=big, and taints, such as gpu=yes:NoSchedule.
func nodeWith(name string, labels ...string) corev1.Node {
	n := prepulltest.Node(name, "amd64")
	for _, text := range labels {
		if text, effect, tainted := strings.Cut(text, ":"); tainted {
			key, value, _ := strings.Cut(text, "=")
			n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: key, Value: value, Effect: corev1.TaintEffect(effect)})
		} else {
			key, value, _ := strings.Cut(text, "=")
			n.Labels[key] = value
		}
	}
	return n
}

func fullNode(name string, labels ...string) corev1.Node {
	n := nodeWith(name, labels...)
	n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: corev1.NodeDiskPressure, Status: corev1.ConditionTrue})
	return n
}

// mentions is an image whose users mention labels, one user for each, and fit nowhere.
func mentions(keys ...string) [][]v1alpha1.Placement {
	var placements []v1alpha1.Placement
	for _, key := range keys {
		placements = append(placements, v1alpha1.Placement{NodeSelector: map[string]string{key: "nowhere"}})
	}
	return [][]v1alpha1.Placement{placements}
}

// These names are pinned: another one replaces every DaemonSet of every cluster that is upgraded.
func TestTheNameOfAClassStays(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		node corev1.Node
		want string
	}{
		"nothing but operating system and architecture": {nodeWith("a", "other=x"), "linux-amd64"},
		"a label that placements mention":               {nodeWith("a", "pool=big"), "linux-amd64-95474d76"},
		"a label without a value":                       {nodeWith("a", "pool="), "linux-amd64-512ebec9"},
		"a taint":                                       {nodeWith("a", "gpu=yes:NoSchedule"), "linux-amd64-d142126c"},
		"a taint of another effect":                     {nodeWith("a", "gpu=yes:NoExecute"), "linux-amd64-7004e6dc"},
		"a taint that repels nobody":                    {nodeWith("a", "gpu=yes:PreferNoSchedule"), "linux-amd64"},
		"a taint that comes and goes":                   {nodeWith("a", "node.kubernetes.io/not-ready:NoExecute", "x.io/agent-not-ready:NoSchedule"), "linux-amd64"},
		"two taints in one order":                       {nodeWith("a", "a:NoExecute", "b:NoExecute"), "linux-amd64-be202428"},
		"two taints in another order":                   {nodeWith("a", "b:NoExecute", "a:NoExecute", "b:NoExecute"), "linux-amd64-be202428"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := classify([]corev1.Node{tc.node}, mentions("pool", "zone"), 30, prepulltest.Noon).Classes[0].Name; got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
		})
	}
}

// terms are the terms of an affinity in a short form, without what all have in common.
func terms(c *Class) []string {
	var all []string
	for _, term := range c.Affinity().NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
		var words []string
		for _, r := range append(slices.Clone(term.MatchExpressions), term.MatchFields...) {
			virtual := slices.ContainsFunc(notVirtual(), func(v corev1.NodeSelectorRequirement) bool { return cmp.Equal(v, r) })
			if r.Key != corev1.LabelOSStable && r.Key != corev1.LabelArchStable && !virtual {
				words = append(words, strings.TrimSuffix(fmt.Sprintf("%s %s %s", r.Key, r.Operator, strings.Join(r.Values, ",")), " "))
			}
		}
		all = append(all, strings.Join(words, "; "))
	}
	return all
}

func TestAffinity(t *testing.T) {
	t.Parallel()
	gpu := "gpu=yes:NoSchedule"
	for name, tc := range map[string]struct {
		nodes []corev1.Node
		want  map[string][]string // by the first node of the class
	}{
		"keys that a node carries and lacks": {
			[]corev1.Node{nodeWith("a", "zone=1", "pool=big"), nodeWith("b", "zone=", "other=x")},
			map[string][]string{
				"a": {"pool In big; zone In 1; far DoesNotExist"},
				"b": {"zone In; far DoesNotExist; pool DoesNotExist"},
			},
		},
		"a label named like the taint separates": {
			[]corev1.Node{nodeWith("a"), nodeWith("b", gpu, "a-label=x", "gpu=present")},
			map[string][]string{
				"a": {"far DoesNotExist; pool DoesNotExist; zone DoesNotExist"},
				"b": {"far DoesNotExist; pool DoesNotExist; zone DoesNotExist; gpu In present"},
			},
		},
		"so does another one that only these nodes carry": {
			[]corev1.Node{nodeWith("a", "all=x", "gpu=present"), nodeWith("b", gpu, "all=x", "gpu=present", "kind=gpu", "zz=z"), nodeWith("c", gpu, "all=x", "gpu=present", "kind=gpu")},
			map[string][]string{
				"a": {"far DoesNotExist; pool DoesNotExist; zone DoesNotExist"},
				"b": {"far DoesNotExist; pool DoesNotExist; zone DoesNotExist; kind In gpu"},
			},
		},
		"best is one that no node with other taints carries": {
			[]corev1.Node{nodeWith("a", "pool=big", "all=x"), nodeWith("b", gpu, "all=x", "kind=gpu")},
			map[string][]string{
				"a": {"pool In big; far DoesNotExist; zone DoesNotExist"},
				"b": {"far DoesNotExist; pool DoesNotExist; zone DoesNotExist; kind In gpu"},
			},
		},
		"enough is one that no node of the same labels carries": {
			[]corev1.Node{nodeWith("a", "pool=big", "all=x"), nodeWith("b", gpu, "all=x")},
			map[string][]string{
				"a": {"pool In big; far DoesNotExist; zone DoesNotExist"},
				"b": {"far DoesNotExist; pool DoesNotExist; zone DoesNotExist; all In x"},
			},
		},
		"or that nodes of another architecture carry": {
			[]corev1.Node{nodeWith("a", corev1.LabelArchStable+"=arm64", "all=x"), nodeWith("b", gpu, "all=x")},
			map[string][]string{
				"a": {"far DoesNotExist; pool DoesNotExist; zone DoesNotExist"},
				"b": {"far DoesNotExist; pool DoesNotExist; zone DoesNotExist; all In x"},
			},
		},
		"without any label the nodes are listed": {
			[]corev1.Node{nodeWith("a", "gpu=yes"), nodeWith("b", gpu, "gpu=yes"), nodeWith("c", gpu, "gpu=no")},
			map[string][]string{
				"a": {"far DoesNotExist; pool DoesNotExist; zone DoesNotExist"},
				"b": {"metadata.name In b", "metadata.name In c"},
			},
		},
		"taints that include others need it too": {
			[]corev1.Node{nodeWith("a", gpu), nodeWith("b", gpu, "more:NoExecute", "more=1"), nodeWith("c", gpu, "more:NoExecute", "more=2")},
			map[string][]string{"a": {"metadata.name In a"}, "b": {"metadata.name In b", "metadata.name In c"}},
		},
		"full nodes are left alone": {
			[]corev1.Node{nodeWith("a"), fullNode("c"), fullNode("b"), nodeWith("d")},
			map[string][]string{"a": {
				"far DoesNotExist; pool DoesNotExist; zone DoesNotExist; metadata.name NotIn b; metadata.name NotIn c",
			}},
		},
		"full nodes that are listed are left alone": {
			[]corev1.Node{nodeWith("a"), fullNode("b", gpu), nodeWith("c", gpu)},
			map[string][]string{
				"a": {"far DoesNotExist; pool DoesNotExist; zone DoesNotExist"},
				"b": {"metadata.name In b; metadata.name NotIn b", "metadata.name In c"},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := map[string][]string{}
			for _, c := range classify(tc.nodes, mentions("zone", "pool", "far"), 30, prepulltest.Noon).Classes {
				got[c.Nodes[0].Name] = terms(c)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("terms (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTolerations(t *testing.T) {
	t.Parallel()
	exists := func(key string) corev1.Toleration {
		return corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists}
	}
	nodes := []corev1.Node{
		nodeWith("a", "gpu=yes:NoSchedule", "gpu:NoExecute", "soft:PreferNoSchedule", "node.kubernetes.io/unschedulable:NoSchedule", "b.io/agent-not-ready=x:NoExecute"),
		nodeWith("b", "gpu:NoExecute", "gpu=yes:NoSchedule", "startup-taint.cluster-autoscaler.kubernetes.io/net:NoSchedule", "b.io/agent-not-ready:NoSchedule", "readiness.k8s.io/images:NoSchedule", "kube-prepull.io/cold:NoSchedule"),
	}
	want := []corev1.Toleration{
		{Key: "gpu", Operator: corev1.TolerationOpEqual, Effect: corev1.TaintEffectNoExecute},
		{Key: "gpu", Operator: corev1.TolerationOpEqual, Value: "yes", Effect: corev1.TaintEffectNoSchedule},
	}
	for _, key := range []string{
		"DeletionCandidateOfClusterAutoscaler", "ToBeDeletedByClusterAutoscaler", "ebs.csi.aws.com/agent-not-ready", "efs.csi.aws.com/agent-not-ready",
		"karpenter.sh/disrupted", "karpenter.sh/unregistered", "kube-prepull.io/warming", "node.cilium.io/agent-not-ready", "node.cloudprovider.kubernetes.io/shutdown", "node.cloudprovider.kubernetes.io/uninitialized",
		"node.cluster.x-k8s.io/uninitialized", "node.gardener.cloud/critical-components-not-ready",
		"node.kubernetes.io/disk-pressure", "node.kubernetes.io/memory-pressure", "node.kubernetes.io/network-unavailable",
		"node.kubernetes.io/not-ready", "node.kubernetes.io/out-of-service", "node.kubernetes.io/pid-pressure",
		"node.kubernetes.io/unreachable", "node.kubernetes.io/unschedulable",
		"b.io/agent-not-ready", "kube-prepull.io/cold", "readiness.k8s.io/images", "startup-taint.cluster-autoscaler.kubernetes.io/net",
	} {
		want = append(want, exists(key))
	}
	classes := classify(nodes, nil, 30, prepulltest.Noon).Classes
	if len(classes) != 1 {
		t.Fatalf("%d classes", len(classes))
	}
	if diff := cmp.Diff(want, classes[0].Tolerations("")); diff != "" {
		t.Errorf("tolerations (-want +got):\n%s", diff)
	}
}

func TestTooManyClasses(t *testing.T) {
	t.Parallel()
	type result struct {
		Classes int
		Keys    []string
		Taints  bool
	}
	var many, tainted []corev1.Node
	for i := range 12 {
		many = append(many, nodeWith(fmt.Sprint(i), fmt.Sprintf("one=%d", i%2), fmt.Sprintf("three=%d", i%3), fmt.Sprintf("also-three=%d", i%3), fmt.Sprintf("four=%d", i/3)))
		tainted = append(tainted, nodeWith(fmt.Sprint(i), fmt.Sprintf("one=%d", i%2), fmt.Sprintf("owner=%d:NoSchedule", i)))
	}
	arm := append(slices.Clone(many), prepulltest.Node("arm", "arm64"))
	all := []string{"also-three", "four", "one", "three"}
	for name, tc := range map[string]struct {
		nodes []corev1.Node
		max   int
		want  result
	}{
		"as many as there may be":                          {many, 12, result{12, nil, false}},
		"the key with the most values goes first":          {many, 11, result{6, []string{"four"}, false}},
		"then the first by name, until it holds":           {many, 5, result{2, []string{"also-three", "four", "three"}, false}},
		"all keys":                                         {many, 1, result{1, all, false}},
		"architectures stay":                               {arm, 1, result{2, all, true}},
		"taints go when they alone are too many":           {tainted, 11, result{2, nil, true}},
		"taints stay as long as there is something to ask": {tainted, 12, result{12, nil, false}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := classify(tc.nodes, mentions("four", "three", "also-three", "one", "nobody-has-it"), tc.max, prepulltest.Noon)
			if diff := cmp.Diff(tc.want, result{len(got.Classes), got.ignoredKeys, got.ignoredTaints}); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	one := classify(tainted, nil, 1, prepulltest.Noon).Classes[0]
	if diff := cmp.Diff([]corev1.Toleration{{Operator: corev1.TolerationOpExists}}, one.Tolerations("")); diff != "" || one.Name != "linux-amd64" {
		t.Errorf("%s tolerates (-want +got):\n%s", one.Name, diff)
	}
}
