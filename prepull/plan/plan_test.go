package plan

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// nothingFails is a cluster whose nodes can pull everything.
func nothingFails(string, string) string { return "" }

func TestAnImageOnItsWay(t *testing.T) {
	t.Parallel()
	s := State{Nodes: prepulltest.Nodes(2), Images: []v1alpha1.PrepullImage{prepulltest.Learned("a:1", 1)}}
	name := workload.ObjectName("a:1")

	s.carryOut(Make(s, testOptions, prepulltest.Noon))
	if diff := cmp.Diff([]string{"a:1"}, s.listOf("linux-amd64")); diff != "" {
		t.Fatalf("list (-want +got):\n%s", diff)
	}
	if got := s.status(name); got.State != "Pending" || got.Ready != "0/2" {
		t.Errorf("at first: %s %s", got.State, got.Ready)
	}

	s.Pods = []*corev1.Pod{prepulltest.Pod("node-000", prepulltest.Noon, prepulltest.Done("install", 0, 1), prepulltest.Waits(name, "PodInitializing", ""))}
	s.carryOut(Make(s, testOptions, prepulltest.Noon.Add(time.Second)))
	if got := s.status(name); got.State != "Pulling" || got.Ready != "0/2" {
		t.Errorf("then: %s %s", got.State, got.Ready)
	}

	s.runPods(prepulltest.Noon, nothingFails)
	s.carryOut(Make(s, testOptions, prepulltest.Noon.Add(time.Minute)))
	if got := s.status(name); got.State != "Ready" || got.Ready != "2/2" {
		t.Errorf("at last: %s %s", got.State, got.Ready)
	}

	s.Images = nil
	p := Make(s, testOptions, prepulltest.Noon.Add(time.Hour))
	if len(p.DeleteEmpty) != 1 || len(p.Roll) != 0 {
		t.Errorf("without images: %d to remove, %d to write", len(p.DeleteEmpty), len(p.Roll))
	}
}

func TestABrokenImageHarmsNobody(t *testing.T) {
	t.Parallel()
	s := State{Nodes: prepulltest.Nodes(3), Images: []v1alpha1.PrepullImage{prepulltest.Learned("bad:1", 100), prepulltest.Learned("good:1", 1)}}
	broken := func(_, image string) string {
		if image == "bad:1" {
			return "bad:1: not found"
		}
		return ""
	}
	now := prepulltest.Noon
	pass := func() Plan {
		p := Make(s, testOptions, now)
		s.carryOut(p)
		return p
	}
	pass()
	if diff := cmp.Diff([]string{"bad:1", "good:1"}, s.listOf("linux-amd64")); diff != "" {
		t.Fatalf("list (-want +got):\n%s", diff)
	}

	s.runPods(now, broken)
	p := pass()
	if len(p.Quarantined) != 1 {
		t.Errorf("images %v were found to fail", p.Quarantined)
	}
	if diff := cmp.Diff([]string{"good:1"}, s.listOf("linux-amd64")); diff != "" {
		t.Fatalf("list (-want +got):\n%s", diff)
	}
	bad := s.status(workload.ObjectName("bad:1"))
	if bad.State != "PullFailed: not found" || bad.Nodes.Failed != 3 || len(bad.Retries) != 1 {
		t.Errorf("status %+v", bad)
	}

	// The old pods still fail, then the new ones run.
	if p := pass(); len(p.Roll) != 0 || len(p.Quarantined) != 0 {
		t.Errorf("the same failure counts again: %+v", p)
	}
	s.runPods(now, broken)
	p = pass()
	if got := s.status(workload.ObjectName("good:1")).State; got != "Ready" {
		t.Errorf("the good image is %s", got)
	}
	if got := s.status(workload.ObjectName("bad:1")).State; got != "PullFailed: not found" {
		t.Errorf("the bad image is %s", got)
	}
	if want := prepulltest.Noon.Add(5 * time.Minute); !p.Next.Equal(want) {
		t.Errorf("next look at %v, want %v", p.Next, want)
	}

	// It is tried again at the end of the list, fails, and then works.
	now = prepulltest.Noon.Add(5 * time.Minute)
	pass()
	if diff := cmp.Diff([]string{"good:1", "bad:1"}, s.listOf("linux-amd64")); diff != "" {
		t.Fatalf("list (-want +got):\n%s", diff)
	}
	s.runPods(now.Add(time.Second), broken)
	pass()
	if got := s.status(workload.ObjectName("bad:1")).Retries; len(got) != 1 || got[0].Failures != 2 || !got[0].Time.Time.Equal(now.Add(10*time.Minute)) {
		t.Errorf("retries %+v", got)
	}
	now = now.Add(10 * time.Minute)
	pass()
	s.runPods(now.Add(time.Second), nothingFails)
	pass()
	if got := s.status(workload.ObjectName("bad:1")); got.State != "Ready" || got.Retries != nil {
		t.Errorf("status %+v", got)
	}
	if diff := cmp.Diff([]string{"good:1", "bad:1"}, s.listOf("linux-amd64")); diff != "" {
		t.Errorf("an image that works again must not move (-want +got):\n%s", diff)
	}
}

func TestAnImageForOneArchitectureStaysThere(t *testing.T) {
	t.Parallel()
	s := State{Nodes: []corev1.Node{prepulltest.Node("amd", "amd64"), prepulltest.Node("arm", "arm64")}, Images: []v1alpha1.PrepullImage{prepulltest.Learned("a:1", 1)}}
	s.carryOut(Make(s, testOptions, prepulltest.Noon))
	s.runPods(prepulltest.Noon, func(node, _ string) string {
		if node == "arm" {
			return "no match for platform in manifest: not found"
		}
		return ""
	})
	s.carryOut(Make(s, testOptions, prepulltest.Noon))
	if got := s.listOf("linux-amd64"); len(got) != 1 {
		t.Errorf("the image left the nodes that can pull it: %v", got)
	}
	if got := s.DaemonSet("kube-prepull-linux-arm64"); got != nil {
		t.Error("a class without images has a DaemonSet")
	}
	if got := s.status(workload.ObjectName("a:1")); got.State != "PullFailed: not built for these nodes" || got.Ready != "1/2" {
		t.Errorf("%s %s", got.State, got.Ready)
	}
}

func TestOverTheBudget(t *testing.T) {
	t.Parallel()
	o := testOptions
	o.MaxImagesPerNode = 2
	s := State{Nodes: prepulltest.Nodes(1)}
	for i := range 4 {
		s.Images = append(s.Images, prepulltest.Learned(fmt.Sprintf("a:%d", i), 10*(i+1)))
	}
	s.carryOut(Make(s, o, prepulltest.Noon))
	if diff := cmp.Diff([]string{"a:3", "a:2"}, s.listOf("linux-amd64")); diff != "" {
		t.Errorf("list (-want +got):\n%s", diff)
	}
	got := s.status(workload.ObjectName("a:0"))
	const words = "A node gets 2 images at most (maxImagesPerNode), and 3 go before this one. The last one with a place is a:2."
	if got.State != "Skipped: OverBudget" || got.Conditions[0].Message != words || got.Ready != "" {
		t.Errorf("status %+v", got)
	}

	// Another rank is no reason to write a thousand statuses.
	s.Images = append(s.Images, prepulltest.Learned("b:1", 15))
	for _, c := range Make(s, o, prepulltest.Noon).Statuses {
		if c.Name != workload.ObjectName("b:1") {
			t.Errorf("the status of %s is written", c.Name)
		}
	}
}

func TestTheSmallestNodeOfAClassBoundsTheBytes(t *testing.T) {
	t.Parallel()
	o := testOptions
	o.MaxBytesPerNode = "50%"
	s := State{Nodes: []corev1.Node{prepulltest.Node("large", "amd64"), prepulltest.Node("small", "amd64"), prepulltest.Node("arm", "arm64")}}
	for i, storage := range []string{"100Gi", "10Gi", "100Gi"} {
		s.Nodes[i].Status.Allocatable = corev1.ResourceList{corev1.ResourceEphemeralStorage: resource.MustParse(storage)}
	}
	for i, gigabytes := range []int64{3, 4, 2, 200} {
		object := prepulltest.Learned(fmt.Sprintf("a:%d", i), 9-i)
		object.Status.SizeBytes = gigabytes << 30
		s.Images = append(s.Images, object)
	}
	s.carryOut(Make(s, o, prepulltest.Noon))
	if got := s.listOf("linux-amd64"); !slices.Equal(got, []string{"a:2", "a:0"}) {
		t.Errorf("the small class has %v", got)
	}
	if got := s.listOf("linux-arm64"); !slices.Equal(got, []string{"a:2", "a:0", "a:1"}) {
		t.Errorf("the large class has %v", got)
	}
	part, none := s.status(workload.ObjectName("a:1")), s.status(workload.ObjectName("a:3"))
	const partWords = "The image has a place on the nodes of some classes, and 1 of 2 leave it out: The images of a node take 5.4 GB at most (maxBytesPerNode)."
	if c := part.Conditions[0]; part.State != "Pending" || part.Ready != "0/1" || c.Status != "True" || c.Reason != "PartlyOverBudget" || c.Message != partWords {
		t.Errorf("in one class: %+v", part)
	}
	const noneWords = "The images of a node take 5.4 GB at most (maxBytesPerNode), and this one alone takes 215 GB."
	if c := none.Conditions[0]; none.State != "Skipped: OverBudget" || none.Ready != "" || c.Status != "False" || c.Message != noneWords {
		t.Errorf("in none: %+v", none)
	}
}

func TestAnImageThatTheConfigurationLeavesOutIsInNoList(t *testing.T) {
	t.Parallel()
	o := testOptions
	s := State{Nodes: prepulltest.Nodes(2), Images: []v1alpha1.PrepullImage{prepulltest.Learned("a:1", 1), prepulltest.Learned("a:debug", 1), prepulltest.Learned("tiny:1", 1)}}
	s.Images[2].Status.SizeBytes = 100
	s.carryOut(Make(s, o, prepulltest.Noon))
	s.runPods(prepulltest.Noon, func(_, image string) string {
		if image == "a:debug" {
			return "not found"
		}
		return ""
	})
	s.carryOut(Make(s, o, prepulltest.Noon))
	o.Exclude, o.MinBytes = []string{"*:debug"}, 200
	s.carryOut(Make(s, o, prepulltest.Noon))
	if diff := cmp.Diff([]string{"a:1"}, s.listOf("linux-amd64")); diff != "" {
		t.Errorf("list (-want +got):\n%s", diff)
	}
	for image, want := range map[string]string{"a:1": "Ready", "a:debug": "Skipped: Excluded", "tiny:1": "Skipped: TooSmall"} {
		if got := s.status(workload.ObjectName(image)); got.State != want || len(got.Retries) > 0 {
			t.Errorf("%s is %s %v, want %s", image, got.State, got.Retries, want)
		}
	}

	// A node that has pulled it for a workload knows its size better than the registry.
	s.Nodes[0].Status.Images = []corev1.ContainerImage{{Names: []string{"docker.io/library/tiny:1"}, SizeBytes: 300}}
	s.carryOut(Make(s, o, prepulltest.Noon))
	s.carryOut(Make(s, o, prepulltest.Noon))
	if diff := cmp.Diff([]string{"tiny:1", "a:1"}, s.listOf("linux-amd64")); diff != "" {
		t.Errorf("list (-want +got):\n%s", diff)
	}
}

func TestAnImageThatNoNodeMatchesSaysSo(t *testing.T) {
	t.Parallel()
	s := State{Nodes: prepulltest.Nodes(2), Images: []v1alpha1.PrepullImage{prepulltest.Declared("mine", "a:1")}}
	s.Images[0].Spec.NodeSelector = map[string]v1alpha1.LabelValue{"gpu": "yes"}
	s.carryOut(Make(s, testOptions, prepulltest.Noon))
	if got := s.status("mine"); got.State != "Skipped: NoNodes" || got.Conditions[0].Message != "No Linux node matches what its pods ask of a node." {
		t.Errorf("status %+v", got)
	}
}

func TestAnImageThatFailsAndIsDisplacedTakesNoShare(t *testing.T) {
	t.Parallel()
	o := testOptions
	o.MaxImagesPerNode = 2
	in := func(namespace string, o v1alpha1.PrepullImage) v1alpha1.PrepullImage {
		o.Status.Users = []v1alpha1.User{{Kind: "Deployment", Namespace: namespace, Name: "a"}}
		return o
	}
	bad := in("b", prepulltest.Learned("bad:1", 1))
	bad.Status.Priority = -1
	s := State{Nodes: prepulltest.Nodes(4), Images: []v1alpha1.PrepullImage{bad}}
	s.carryOut(Make(s, o, prepulltest.Noon))
	s.runPods(prepulltest.Noon, func(node, _ string) string {
		if node >= "node-002" {
			return "not found"
		}
		return ""
	})
	for i := range 3 {
		s.Images = append(s.Images, in("a", prepulltest.Learned(fmt.Sprintf("a:%d", i), 9-i)), in("b", prepulltest.Learned(fmt.Sprintf("b:%d", i), 9-i)))
	}
	s.carryOut(Make(s, o, prepulltest.Noon))
	if p := Make(s, o, prepulltest.Noon); len(p.Roll)+len(p.Statuses) > 0 {
		t.Errorf("the plan is not done when it is done: %+v", p)
	}
}

func TestAnImageThatFailsAndIsDisplacedWaitsForItsNextTry(t *testing.T) {
	t.Parallel()
	o := testOptions
	o.MaxImagesPerNode = 1
	s := State{Nodes: prepulltest.Nodes(4), Images: []v1alpha1.PrepullImage{prepulltest.Learned("a:1", 10)}}
	s.carryOut(Make(s, o, prepulltest.Noon))
	// Two of four nodes have it: by itself it would stay, as the last one.
	s.runPods(prepulltest.Noon, func(node, _ string) string {
		if node >= "node-002" {
			return "a:1: not found"
		}
		return ""
	})
	s.Images = append(s.Images, prepulltest.Learned("b:1", 1))
	p := Make(s, o, prepulltest.Noon)
	s.carryOut(p)
	if diff := cmp.Diff([]string{"b:1"}, s.listOf("linux-amd64")); diff != "" {
		t.Errorf("list (-want +got):\n%s", diff)
	}
	if got := s.status(workload.ObjectName("a:1")).State; got != "PullFailed: not found" {
		t.Errorf("state %s", got)
	}
	if want := prepulltest.Noon.Add(5 * time.Minute); !p.Next.Equal(want) {
		t.Errorf("next look at %v, want %v", p.Next, want)
	}
}

func TestOnlyNodesThatWantAnImageAreCounted(t *testing.T) {
	t.Parallel()
	s := State{Nodes: prepulltest.Nodes(3), Images: []v1alpha1.PrepullImage{prepulltest.Declared("mine", "a:1")}}
	s.Nodes[1].Labels["pool"] = "big"
	s.Images[0].Spec.NodeSelector = map[string]v1alpha1.LabelValue{"pool": "big"}
	s.carryOut(Make(s, testOptions, prepulltest.Noon))
	s.runPods(prepulltest.Noon, nothingFails)
	s.carryOut(Make(s, testOptions, prepulltest.Noon))
	if got := s.status("mine"); got.Ready != "1/1" || got.State != "Ready" {
		t.Errorf("%s %s", got.State, got.Ready)
	}
}

func TestADaemonSetThatSomebodyChangedIsPutBack(t *testing.T) {
	t.Parallel()
	s := State{Nodes: prepulltest.Nodes(1), Images: []v1alpha1.PrepullImage{prepulltest.Learned("a:1", 1)}}
	s.carryOut(Make(s, testOptions, prepulltest.Noon))
	s.DaemonSets[0].Spec.Template.Spec.InitContainers[1].Image = "other:1"
	if p := Make(s, testOptions, prepulltest.Noon); len(p.Roll) != 1 || ListOf(p.Roll[0])[0].Image != "a:1" {
		t.Errorf("plan %+v", p.Roll)
	}
	s.DaemonSets = nil
	if p := Make(s, testOptions, prepulltest.Noon); len(p.Roll) != 1 {
		t.Errorf("plan %+v", p.Roll)
	}
}

func TestANewNodeIsCountedAndNothingIsWrittenForIt(t *testing.T) {
	t.Parallel()
	s := State{Nodes: prepulltest.Nodes(2), Images: []v1alpha1.PrepullImage{prepulltest.Learned("a:1", 1)}}
	s.carryOut(Make(s, testOptions, prepulltest.Noon))
	s.runPods(prepulltest.Noon, nothingFails)
	s.carryOut(Make(s, testOptions, prepulltest.Noon))
	s.Nodes = prepulltest.Nodes(3)
	p := Make(s, testOptions, prepulltest.Noon)
	if len(p.Roll) != 0 {
		t.Error("the DaemonSet is written for a new node")
	}
	s.carryOut(p)
	if got := s.status(workload.ObjectName("a:1")); got.Ready != "2/3" || got.State != "Pending" {
		t.Errorf("%s %s", got.State, got.Ready)
	}
}

func TestABadShareIsNoReasonToStop(t *testing.T) {
	t.Parallel()
	o := testOptions
	o.MaxConcurrentNodes = intstr.FromString("all")
	s := State{Nodes: prepulltest.Nodes(1), Images: []v1alpha1.PrepullImage{prepulltest.Learned("a:1", 1)}}
	if p := Make(s, o, prepulltest.Noon); len(p.Roll) != 1 {
		t.Errorf("plan %+v", p)
	}
}

// FuzzPlan makes a cluster of the bytes, lets its nodes do odd things, and checks what must hold for any plan.
func FuzzPlan(f *testing.F) {
	for seed := range 40 {
		f.Add([]byte(strings.Repeat(fmt.Sprintf("%d kube prepull %x", seed, seed*7919), seed%7+1)))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d := &dice{data: data}
		o := testOptions
		o.MaxImagesPerNode = 1 + d.roll(8)
		o.MaxBytesPerNode = []string{"", "50%", "100%", "800Mi"}[d.roll(4)]
		o.MinBytes = int64(d.roll(3)) << 24
		o.Exclude = []string{"*:3", "r.test/*:1*", "shop/*5"}[:d.roll(4)]
		s := d.cluster()
		now := prepulltest.Noon
		for range 6 {
			before := s.listsByClass()
			p := Make(s, o, now)
			checkPlan(t, s, p, o, now)
			s.carryOut(p)
			again := Make(s, o, now)
			if len(again.Roll)+len(again.DeleteEmpty)+len(again.Statuses)+len(again.Quarantined) > 0 {
				t.Fatalf("the plan is not done when it is done: %+v", again)
			}
			checkOrder(t, before, s.listsByClass(), p)
			s.runPods(now, func(string, string) string { return d.trouble() })
			if d.roll(3) == 0 {
				s.Images = withoutDoubles(append(s.Images, d.object()))
			}
			now = now.Add(time.Duration(d.roll(600)) * time.Second)
		}
	})
}

// checkPlan holds for every plan.
func checkPlan(t *testing.T, s State, p Plan, o Options, now time.Time) {
	t.Helper()
	shuffled := State{Nodes: slices.Clone(s.Nodes), Images: slices.Clone(s.Images), Pods: slices.Clone(s.Pods), DaemonSets: slices.Clone(s.DaemonSets)}
	slices.Reverse(shuffled.Nodes)
	slices.Reverse(shuffled.Images)
	slices.Reverse(shuffled.DaemonSets)
	other := Make(shuffled, o, now)
	if diff := cmp.Diff(p.Roll, other.Roll); diff != "" {
		t.Fatalf("the plan depends on the order of its input:\n%s", diff)
	}
	if diff := cmp.Diff(p.Statuses, other.Statuses, cmp.AllowUnexported(StatusChange{}, Notice{})); diff != "" {
		t.Fatalf("the statuses depend on the order of the input:\n%s", diff)
	}
	for _, cp := range p.Classes {
		if len(cp.List) > o.MaxImagesPerNode {
			t.Fatalf("%d images on a node, %d is the budget", len(cp.List), o.MaxImagesPerNode)
		}
		var used budget
		inList := map[string]bool{}
		behindLast := false
		for _, e := range cp.List {
			if inList[e.Name] || workload.ValidImage(e.image) != nil || len(e.Name) > 63 {
				t.Fatalf("%q is in the list twice or must not be", e.image)
			}
			inList[e.Name] = true
			if _, found := p.unwanted[e.Candidate]; found || !budgetOf(cp.Class, o).fits(used, e.Candidate) {
				t.Fatalf("%s is in the list: %+v", e.image, p.unwanted[e.Candidate])
			}
			used = used.plus(e.Candidate)
			if behindLast && !e.atEnd {
				t.Fatalf("%s waits behind an image that fails", e.image)
			}
			behindLast = e.atEnd
		}
		turn := false
		for _, v := range cp.Images {
			turn = turn || v.standing == standingLast && !v.retry.Time.After(now)
		}
		for _, v := range cp.Images {
			over := v.over.reason != ""
			if out := v.standing == standingOut; inList[v.Name] == (out || over) {
				t.Fatalf("%s: in the list %v, out %v, over the budget %v", v.image, inList[v.Name], out, over)
			}
			if v.standing == standingOut && !v.retry.Time.After(now) && !turn && budgetOf(cp.Class, o).fits(used, v.Candidate) {
				t.Fatalf("%s is out although its time has come, there is room, and no other has its turn", v.image)
			}
		}
	}
}

// checkOrder makes sure that images which do not fail keep their order unless the set changes.
func checkOrder(t *testing.T, before, after map[string][]string, p Plan) {
	t.Helper()
	failing := map[string]bool{}
	for _, cp := range p.Classes {
		for _, e := range cp.List {
			failing[e.image] = failing[e.image] || e.atEnd
		}
	}
	good := func(images []string) []string {
		return slices.DeleteFunc(slices.Clone(images), func(image string) bool { return failing[image] })
	}
	for class, was := range before {
		is := after[class]
		same := slices.Equal(slices.Sorted(slices.Values(was)), slices.Sorted(slices.Values(is)))
		if same && !slices.Equal(good(was), good(is)) {
			t.Fatalf("%s was %v and is %v", class, was, is)
		}
	}
}

func (s *State) listsByClass() map[string][]string {
	lists := map[string][]string{}
	for _, class := range []string{"linux-amd64", "linux-arm64"} {
		lists[class] = s.listOf(class)
	}
	return lists
}

// dice takes its numbers from data, and 0 when there is no more.
type dice struct{ data []byte }

func (d *dice) roll(sides int) int {
	if len(d.data) == 0 {
		return 0
	}
	n := int(d.data[0]) * 31 % 251
	d.data = d.data[1:]
	return n % sides
}

func (d *dice) cluster() State {
	var s State
	for i := range d.roll(6) {
		n := prepulltest.Node(fmt.Sprint("n", i), []string{"amd64", "amd64", "arm64", ""}[d.roll(4)])
		n.Spec.Unschedulable = d.roll(5) == 0
		n.Labels["pool"] = fmt.Sprint(d.roll(3))
		if d.roll(3) > 0 {
			n.Status.Allocatable = corev1.ResourceList{corev1.ResourceEphemeralStorage: *resource.NewQuantity(int64(1+d.roll(8))<<28, resource.BinarySI)}
		}
		s.Nodes = append(s.Nodes, n)
	}
	for range d.roll(14) {
		s.Images = append(s.Images, d.object())
	}
	s.Images = withoutDoubles(s.Images)
	return s
}

// withoutDoubles keeps the first object of each name.
func withoutDoubles(objects []v1alpha1.PrepullImage) []v1alpha1.PrepullImage {
	slices.SortStableFunc(objects, func(a, b v1alpha1.PrepullImage) int { return strings.Compare(a.Name, b.Name) })
	return slices.CompactFunc(objects, func(a, b v1alpha1.PrepullImage) bool { return a.Name == b.Name })
}

func (d *dice) object() v1alpha1.PrepullImage {
	image := fmt.Sprintf([]string{"app:%d", "r.test/app:%d", "Bad:%d", "shop/app:%d"}[d.roll(4)], d.roll(20))
	o := prepulltest.Learned(image, d.roll(50))
	o.Status.SizeBytes = int64(d.roll(200)) << 20
	o.Status.Priority = int32(d.roll(3) - 1)
	o.Status.Autoscaled = d.roll(5) == 0
	for _, n := range []string{"a", "b", "c"}[:d.roll(4)] {
		o.Status.Users = append(o.Status.Users, v1alpha1.User{Namespace: n})
	}
	if d.roll(3) == 0 {
		o.Labels = nil
		o.Name = fmt.Sprint("declared-", len(d.data), "-", image)
		o.Spec.NodeSelector = map[string]v1alpha1.LabelValue{"pool": v1alpha1.LabelValue(fmt.Sprint(d.roll(4)))}
	}
	if d.roll(6) == 0 {
		o.Status.Retries = []v1alpha1.Retry{{NodeClass: "linux-amd64", Failures: int32(1 + d.roll(4)), Time: metav1.NewTime(prepulltest.Noon.Add(time.Duration(d.roll(900)-300) * time.Second))}}
	}
	return o
}

// trouble is what a node has with an image, mostly none.
func (d *dice) trouble() string {
	switch d.roll(12) {
	case 10:
		return "x: not found"
	case 11:
		return "dial tcp: i/o timeout"
	default:
		return ""
	}
}

func BenchmarkPlan(b *testing.B) {
	for name, size := range map[string]struct {
		nodes, images int
		options       Options
	}{
		"500 nodes, 1000 images":                                        {500, 1000, testOptions},
		"5000 nodes of 12 shapes, 1000 images":                          {5000, 1000, testOptions},
		"5000 nodes of 12 shapes, 1000 images, with gate and condition": {5000, 1000, warmingOptions()},
		"10000 nodes of 12 shapes, 5000 images":                         {10000, 5000, testOptions},
		"10000 nodes of 12 shapes, 5000 images, image volumes":          {10000, 5000, holding},
	} {
		b.Run(name, func(b *testing.B) {
			s := benchmarkState(size.nodes, size.images, size.options)
			s.Accepted = map[string]string{}
			for _, ds := range s.DaemonSets {
				s.Accepted[ds.Name] = AcceptedHash(&ds.Spec)
			}
			b.ReportAllocs()
			for b.Loop() {
				if p := Make(s, size.options, prepulltest.Noon); len(p.Roll)+len(p.UpdateInPlace)+len(p.Statuses)+len(p.Conditions) > 0 {
					b.Fatal("a steady state is written")
				}
			}
		})
	}
}

// benchmarkState is a cluster at rest: every node has run the images that are worth a place, and lists them. Nodes are of
// twelve shapes, and most images are for some of them.
func benchmarkState(nodes, images int, o Options) State {
	s := State{Nodes: ableNodes(nodes)}
	for i := range s.Nodes {
		n := &s.Nodes[i]
		n.Labels["zone"], n.Labels["pool"] = fmt.Sprint(i%3), fmt.Sprint(i/3%2)
		n.Labels[corev1.LabelArchStable] = []string{"amd64", "arm64"}[i/6%2]
		if i/3%2 == 1 {
			n.Spec.Taints = []corev1.Taint{{Key: "pool", Value: "1", Effect: corev1.TaintEffectNoSchedule}}
		}
	}
	for i := range images {
		o := prepulltest.Learned(fmt.Sprintf("registry.example.com/team/app-%d:v1", i), i)
		o.Status.UserCount = 1
		placement := v1alpha1.Placement{NodeSelector: map[string]string{}}
		if i%3 > 0 {
			placement.NodeSelector["zone"] = fmt.Sprint(i % 3)
		}
		if i%5 > 1 {
			placement.NodeSelector["pool"] = fmt.Sprint(i % 2)
			placement.Tolerations = []corev1.Toleration{{Key: "pool", Operator: corev1.TolerationOpExists}}
		}
		o.Status.Placements = []v1alpha1.Placement{placement}
		s.Images = append(s.Images, o)
	}
	for range 2 { // what is there is held then
		s.carryOut(Make(s, o, prepulltest.Noon))
		s.runPods(prepulltest.Noon, nothingFails)
	}
	for i := range s.Nodes {
		for j := range 50 {
			s.Nodes[i].Status.Images = append(s.Nodes[i].Status.Images, corev1.ContainerImage{
				Names:     []string{fmt.Sprintf("registry.example.com/team/app-%d@sha256:%064d", j, j), fmt.Sprintf("registry.example.com/team/app-%d:v1", j)},
				SizeBytes: 1 << 20,
			})
		}
	}
	s.carryOut(Make(s, o, prepulltest.Noon))
	for _, c := range Make(s, warmingOptions(), prepulltest.Noon).Conditions {
		i := slices.IndexFunc(s.Nodes, func(n corev1.Node) bool { return n.Name == c.Node })
		s.Nodes[i].Status.Conditions = append(s.Nodes[i].Status.Conditions, c.Condition)
	}
	return s
}

func TestARefusedDaemonSetIsInTheStatus(t *testing.T) {
	t.Parallel()
	s := State{
		Nodes: prepulltest.Nodes(1), Images: []v1alpha1.PrepullImage{prepulltest.Learned("a:1", 1)},
		Refused: map[string]string{"kube-prepull-linux-amd64": "exceeded quota: tiny"},
	}
	s.carryOut(Make(s, testOptions, prepulltest.Noon))
	ready := meta.FindStatusCondition(s.status(workload.ObjectName("a:1")).Conditions, v1alpha1.ConditionReady)
	if ready.Status != metav1.ConditionFalse || ready.Reason != "DaemonSetRefused" || !strings.Contains(ready.Message, "exceeded quota: tiny") {
		t.Errorf("%+v", ready)
	}
}

func TestAnImageThatGoesTooFarSaysSo(t *testing.T) {
	t.Parallel()
	s := State{Nodes: prepulltest.Nodes(4), Images: []v1alpha1.PrepullImage{prepulltest.Declared("far", "far:1"), prepulltest.Declared("near", "near:1")}}
	for i := range s.Nodes {
		s.Nodes[i].Labels["rack"] = fmt.Sprint(i)
	}
	s.Images[0].Spec.NodeSelector = map[string]v1alpha1.LabelValue{"rack": "2"}
	o := testOptions
	o.MaxNodeClasses = 3
	s.carryOut(Make(s, o, prepulltest.Noon))
	far := meta.FindStatusCondition(s.status("far").Conditions, v1alpha1.ConditionSelected)
	if far.Reason != "PlacedWidely" || !strings.Contains(far.Message, "the node label rack are not told apart, since there would be more than 3 classes") {
		t.Errorf("%+v", far)
	}
	if near := meta.FindStatusCondition(s.status("near").Conditions, v1alpha1.ConditionSelected); near.Reason != "WithinBudget" {
		t.Errorf("%+v", near)
	}
}
