package nodeclass

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
)

const (
	gpu  = "example.com/gpu"
	rdma = "example.com/rdma"
)

// offering is a node that offers resources.
func offering(n corev1.Node, resources ...string) corev1.Node {
	n.Status.Allocatable = corev1.ResourceList{}
	for _, name := range resources {
		n.Status.Allocatable[corev1.ResourceName(name)] = resource.MustParse("1")
	}
	return n
}

// aged is a node of an age.
func aged(n corev1.Node, age time.Duration) corev1.Node {
	n.CreationTimestamp.Time = prepulltest.Noon.Add(-age)
	return n
}

// asking is an image whose pods ask for resources, and tolerate taints of their names as admission adds it.
func asking(resources ...string) []v1alpha1.Placement {
	p := v1alpha1.Placement{Resources: resources}
	for _, name := range resources {
		p.Tolerations = append(p.Tolerations, corev1.Toleration{Key: name, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule})
	}
	return []v1alpha1.Placement{p}
}

func TestOffers(t *testing.T) {
	t.Parallel()
	list := func(quantity string) corev1.ResourceList {
		return corev1.ResourceList{gpu: resource.MustParse(quantity)}
	}
	for name, test := range map[string]struct {
		node corev1.Node
		want bool
	}{
		"none":                                   {corev1.Node{}, false},
		"one":                                    {corev1.Node{Status: corev1.NodeStatus{Allocatable: list("1"), Capacity: list("1")}}, true},
		"none any more":                          {corev1.Node{Status: corev1.NodeStatus{Allocatable: list("0"), Capacity: list("0")}}, false},
		"its device plugin is away":              {corev1.Node{Status: corev1.NodeStatus{Allocatable: list("0"), Capacity: list("8")}}, true},
		"a taint of its name":                    {nodeWith("n", gpu+"=present:NoSchedule"), true},
		"another resource":                       {offering(corev1.Node{}, rdma), false},
		"another taint, and a label of its name": {nodeWith("n", "gpu:NoSchedule", gpu+"=yes"), false},
	} {
		if got := Offers(&test.node, gpu); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

func TestImagesThatAskForResources(t *testing.T) {
	t.Parallel()
	nodes := []corev1.Node{
		prepulltest.Node("plain", "amd64"), offering(prepulltest.Node("one", "amd64"), gpu), offering(prepulltest.Node("two", "amd64"), gpu, rdma),
		offering(nodeWith("tainted", gpu+"=yes:NoSchedule"), gpu), nodeWith("starting", gpu+"=yes:NoSchedule"), offering(nodeWith("closed", "team=a:NoSchedule"), gpu),
	}
	for name, test := range map[string]struct {
		asked []v1alpha1.Placement
		want  []string
	}{
		"nothing":                           {[]v1alpha1.Placement{{}}, []string{"one", "plain", "two"}},
		"a resource":                        {asking(gpu), []string{"one", "starting", "tainted", "two"}},
		"two resources":                     {asking(gpu, rdma), []string{"two"}},
		"a resource that nobody offers":     {asking("example.com/none"), nil},
		"one or nothing":                    {append(asking(rdma), v1alpha1.Placement{}), []string{"one", "plain", "two"}},
		"a resource without the toleration": {[]v1alpha1.Placement{{Resources: []string{gpu}}}, []string{"one", "two"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, c := range classify(nodes, [][]v1alpha1.Placement{test.asked}, 30, prepulltest.Noon).Classes {
				if c.Fits(0) {
					got = append(got, nodeNames(c.Nodes)...)
				}
			}
			slices.Sort(got)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("nodes (-want +got):\n%s", diff)
			}
		})
	}
}

// A DaemonSet cannot ask for a resource: both sides say by a label, or by names, which nodes are theirs.
func TestNodesThatDifferInWhatTheyOffer(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		nodes []corev1.Node
		want  map[string][]string // by the first node of the class
	}{
		"none offers it": {
			[]corev1.Node{nodeWith("a"), nodeWith("b", "kind=gpu")},
			map[string][]string{"a": {""}},
		},
		"all offer it": {
			[]corev1.Node{offering(nodeWith("a"), gpu), offering(nodeWith("b", "kind=gpu"), gpu)},
			map[string][]string{"a": {""}},
		},
		"a label tells": {
			[]corev1.Node{nodeWith("a", "all=x"), offering(nodeWith("b", "all=x", "kind=gpu"), gpu), offering(nodeWith("c", "all=x", "kind=gpu"), gpu)},
			map[string][]string{"a": {"kind NotIn gpu"}, "b": {"kind In gpu"}},
		},
		"best is one of its name": {
			[]corev1.Node{nodeWith("a"), offering(nodeWith("b", "a=1", gpu+"=8"), gpu)},
			map[string][]string{"a": {gpu + " NotIn 8"}, "b": {gpu + " In 8"}},
		},
		"only names tell": {
			[]corev1.Node{nodeWith("a", "kind=gpu"), nodeWith("b"), offering(nodeWith("c", "kind=gpu"), gpu), offering(nodeWith("d", "kind=big"), gpu)},
			map[string][]string{"a": {"metadata.name NotIn c; metadata.name NotIn d"}, "c": {"metadata.name In c", "metadata.name In d"}},
		},
		"each has something else": {
			[]corev1.Node{nodeWith("a"), offering(nodeWith("b", "kind=gpu"), gpu), offering(nodeWith("c", "net=fast"), rdma)},
			map[string][]string{"a": {"kind NotIn gpu; net NotIn fast"}, "b": {"kind In gpu; net NotIn fast"}, "c": {"net In fast; kind NotIn gpu"}},
		},
		"one has more, which tells": {
			[]corev1.Node{offering(nodeWith("a", "kind=gpu"), gpu), offering(nodeWith("b", "kind=gpu", "net=fast"), gpu, rdma)},
			map[string][]string{"a": {"net NotIn fast"}, "b": {"net In fast"}},
		},
		"taints keep apart anyway": {
			[]corev1.Node{nodeWith("a"), offering(nodeWith("b", gpu+":NoSchedule", "kind=gpu"), gpu)},
			map[string][]string{"a": {""}, "b": {"kind In gpu"}},
		},
		"the same taint on both": {
			[]corev1.Node{nodeWith("a"), nodeWith("b", "team:NoSchedule", "team=a"), offering(nodeWith("c", "team:NoSchedule", "team=a", "kind=gpu"), gpu)},
			map[string][]string{"a": {""}, "b": {"team In a; kind NotIn gpu"}, "c": {"kind In gpu"}},
		},
		"nodes with a full disk": {
			[]corev1.Node{fullNode("a"), nodeWith("b"), offering(fullNode("c"), gpu)},
			map[string][]string{"a": {"metadata.name NotIn a; metadata.name NotIn c"}, "c": {"metadata.name In c; metadata.name NotIn c"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := map[string][]string{}
			for _, c := range classify(test.nodes, [][]v1alpha1.Placement{asking(gpu), asking(rdma)}, 30, prepulltest.Noon).Classes {
				got[c.Nodes[0].Name] = terms(c)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("terms (-want +got):\n%s", diff)
			}
		})
	}
}

// Another name restarts the prepull pods of a class: only nodes that a new workload tells from others of their kind get one.
func TestAResourceRenamesNoClassOfOthers(t *testing.T) {
	t.Parallel()
	classes := func(images [][]v1alpha1.Placement, nodes ...corev1.Node) map[string][]string {
		found := map[string][]string{}
		for _, c := range classify(nodes, images, 30, prepulltest.Noon).Classes {
			found[c.Name] = nodeNames(c.Nodes)
		}
		return found
	}
	plain, pool := nodeWith("plain"), offering(nodeWith("pool", "pool=gpu"), gpu)
	tainted, mixed := offering(nodeWith("tainted", gpu+":NoSchedule"), gpu), offering(nodeWith("mixed"), gpu)
	before := classes(mentions("pool"), plain, pool, tainted)
	after := classes(append(mentions("pool"), asking(gpu)), plain, pool, tainted)
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("(-before +after):\n%s", diff)
	}
	want := maps.Clone(before)
	want["linux-amd64-8f142a2e"] = []string{"mixed"}
	if diff := cmp.Diff(want, classes(append(mentions("pool"), asking(gpu)), plain, pool, tainted, mixed)); diff != "" {
		t.Errorf("with a node like the plain one (-want +got):\n%s", diff)
	}
}

func TestYoungNodes(t *testing.T) {
	t.Parallel()
	const old, young = 24 * time.Hour, 2 * time.Minute
	plain := aged(nodeWith("plain", "pool=web"), old)
	member := func(name string, age time.Duration) corev1.Node { return aged(nodeWith(name, "pool=gpu"), age) }
	for name, test := range map[string]struct {
		nodes []corev1.Node
		want  []string
		next  time.Duration // from now
	}{
		"one like those that offer it":                 {[]corev1.Node{plain, offering(member("a", old), gpu), member("b", young)}, []string{"a", "b"}, settleTime - young},
		"one that had the time to":                     {[]corev1.Node{plain, offering(member("a", old), gpu), member("b", settleTime)}, []string{"a"}, 0},
		"one unlike those":                             {[]corev1.Node{plain, offering(member("a", old), gpu), aged(nodeWith("b", "pool=web"), young)}, []string{"a"}, 0},
		"a label of those that lack it, too":           {[]corev1.Node{plain, offering(member("a", old), gpu), member("b", old), member("c", young)}, []string{"a"}, 0},
		"none had the time to":                         {[]corev1.Node{aged(plain, young), offering(member("a", young), gpu), member("b", young)}, []string{"a"}, 0},
		"all others offer it":                          {[]corev1.Node{offering(member("a", old), gpu), aged(nodeWith("b"), young)}, []string{"a", "b"}, settleTime - young},
		"none offers it":                               {[]corev1.Node{plain, member("b", young)}, nil, 0},
		"one that offers it is young and all the same": {[]corev1.Node{plain, offering(member("a", young), gpu)}, []string{"a"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			result := classify(test.nodes, [][]v1alpha1.Placement{asking(gpu)}, 30, prepulltest.Noon)
			for _, c := range result.Classes {
				if c.Fits(0) {
					got = append(got, nodeNames(c.Nodes)...)
				}
			}
			var next time.Time
			if test.next > 0 {
				next = prepulltest.Noon.Add(test.next)
			}
			if diff := cmp.Diff(test.want, got); diff != "" || !result.Next.Equal(next) {
				t.Errorf("again at %v, want %v; nodes (-want +got):\n%s", result.Next, next, diff)
			}
		})
	}
}

func TestTooManyClassesForResources(t *testing.T) {
	t.Parallel()
	nodes := []corev1.Node{prepulltest.Node("a", "amd64"), offering(prepulltest.Node("b", "amd64"), gpu)}
	result := classify(nodes, [][]v1alpha1.Placement{asking(gpu), {{}}}, 1, prepulltest.Noon)
	if len(result.Classes) != 1 || !result.Classes[0].Fits(0) || result.Classes[0].Name != "linux-amd64" {
		t.Fatalf("there are %d classes; the first is %+v", len(result.Classes), result.Classes[0])
	}
	words := result.IgnoredWords(1)
	if got := words.Widely(asking(gpu)); !strings.Contains(got, "nodes with and without the resource example.com/gpu are not told apart") {
		t.Errorf("of the image that asks for it: %q", got)
	}
	if got := words.Widely([]v1alpha1.Placement{{}}); got != "" {
		t.Errorf("of the other image: %q", got)
	}
}

func TestWhatNobodyOffers(t *testing.T) {
	t.Parallel()
	nodes := []corev1.Node{offering(prepulltest.Node("a", "amd64"), gpu), offering(prepulltest.Node("b", "amd64"), rdma)}
	wanted := [][]v1alpha1.Placement{asking("example.com/none"), append(asking(gpu, "example.com/x"), asking("example.com/none", "example.com/x")...), asking(gpu, rdma)}
	result := classify(nodes, wanted, 30, prepulltest.Noon)
	var got []string
	for i := range wanted {
		got = append(got, result.WhyNowhere(i, wanted[i]))
	}
	want := []string{"No node offers example.com/none.", "No node offers example.com/x, example.com/none.", "No Linux node matches what its pods ask of a node."}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
