package plan

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/nodeclass"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
	"github.com/kube-prepull/kube-prepull/prepull/warmth"
)

// revisionLabel is on a pod of a chaos as controller-revision-hash is on one of a DaemonSet.
const revisionLabel = "revision"

// chaos is a cluster in which anything may happen at any time, with a DaemonSet controller and kubelets.
type chaos struct {
	State
	*rand.Rand
	now     time.Time
	options Options
	made    int
	log     []string
	failing map[string]bool

	// full are the nodes with no room for another pod, and slow the pods that get nowhere, by their names.
	full, slow map[string]bool

	// seen are the DaemonSets as the DaemonSet controller knows them, which may be behind.
	seen []*appsv1.DaemonSet
}

// TestAnythingMayHappenAtAnyTime lets random things happen to clusters and then waits until nothing is left to do. Then
// every node has one prepull pod of each lane, of its class and with its list, and a new leader finds nothing to write.
func TestAnythingMayHappenAtAnyTime(t *testing.T) {
	t.Parallel()
	for seed := range uint64(100) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			c := newChaos(seed)
			for range 3 {
				for range 5 + c.IntN(40) {
					c.happen()
					if c.IntN(8) == 0 {
						c.checkFixedPoint(t)
					}
				}
				c.failing = map[string]bool{}
				if !c.quiesce() {
					t.Fatalf("not quiet: %s\n%s", shownPlan(Make(c.State, c.options, c.now)), strings.Join(c.log, "\n"))
				}
				c.check(t)
				if t.Failed() {
					t.Fatal(strings.Join(c.log, "\n"))
				}
			}
		})
	}
}

func newChaos(seed uint64) *chaos {
	c := &chaos{Rand: rand.New(rand.NewPCG(seed, 1)), now: prepulltest.Noon, options: testOptions, failing: map[string]bool{}, full: map[string]bool{}}
	c.Accepted = map[string]string{}
	c.options.MaxConcurrentNodes = intstr.FromInt32(1 + c.Int32N(4))
	c.options.MaxNodeClasses = []int{1, 3, 30, 30}[c.IntN(4)]
	c.options.MaxImagesPerNode = []int{2, 50}[c.IntN(2)]
	c.options.ImageVolumes = seed%2 == 1
	c.options.PullsPerNode = []int{1, 1, 2, 4}[c.IntN(4)]
	for range 1 + c.IntN(8) {
		c.addNode()
	}
	return c
}

func pick[T any](c *chaos, list []T) *T {
	if len(list) == 0 {
		return nil
	}
	return &list[c.IntN(len(list))]
}

// happen lets one thing happen.
func (c *chaos) happen() {
	n, o := pick(c, c.Nodes), pick(c, c.Images)
	what := ""
	switch k := c.IntN(27); {
	case k == 26:
		c.options.PullsPerNode = 1 + c.IntN(4)
		what = fmt.Sprint("pulls per node ", c.options.PullsPerNode)
	case k == 24:
		c.attach(n)
		what = "device " + n.Name + fmt.Sprint(len(n.Status.Allocatable))
	case k == 25:
		c.RuntimeClasses = []nodeclass.RuntimeClasses{nil, {"sandboxed": nil}, {"sandboxed": {NodeSelector: map[string]string{"pool": "a"}}}}[c.IntN(3)]
		what = fmt.Sprint("RuntimeClasses ", c.RuntimeClasses)
	case k == 22:
		c.full[n.Name] = true
		what = "full " + n.Name
	case k == 23:
		delete(c.full, n.Name)
		what = "has room " + n.Name
	case k == 0:
		c.addNode()
		what = "node added"
	case k == 1 && len(c.Nodes) > 1:
		what = "node removed " + n.Name
		c.deletePods(func(p *corev1.Pod) bool { return warmth.NodeOf(p) == n.Name })
		gone := n.Name
		c.Nodes = slices.DeleteFunc(slices.Clone(c.Nodes), func(m corev1.Node) bool { return m.Name == gone })
	case k == 2:
		c.relabel(n)
		what = "relabelled " + n.Name + fmt.Sprint(n.Labels)
	case k == 3:
		c.taint(n)
		what = "tainted " + n.Name + fmt.Sprint(n.Spec.Taints)
	case k == 4:
		n.Status.Conditions = slices.Clone(n.Status.Conditions)
		if nodeclass.UnderPressure(n) {
			n.Status.Conditions = n.Status.Conditions[:1]
		} else {
			n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: corev1.NodeDiskPressure, Status: corev1.ConditionTrue})
		}
		what = "pressure flips " + n.Name
	case k == 5:
		c.Accepted = map[string]string{}
		what = "new leader"
	case k == 6 || k == 7:
		c.addImage()
		what = "image added"
	case k == 8 && o != nil:
		what = "image removed " + o.Name
		gone := o.Name
		c.Images = slices.DeleteFunc(slices.Clone(c.Images), func(i v1alpha1.PrepullImage) bool { return i.Name == gone })
	case k == 9 && o != nil && o.Status.AlwaysPull:
		c.made++
		o.Status.Digest = fmt.Sprintf("sha256:%d", c.made)
		what = "digest of " + o.Name
	case k == 10 && o != nil:
		o.Status.AlwaysPull = !o.Status.AlwaysPull
		what = "policy of " + o.Name
	case k == 11 && o != nil:
		if o := *o; c.IntN(2) == 0 {
			c.failing[o.Spec.Image] = true
			what = "fails " + o.Name
		} else {
			c.failing[n.Name+" "+o.Spec.Image] = true
			what = "fails on " + n.Name + " " + o.Name
		}
	case k == 12:
		c.failing = map[string]bool{}
		what = "nothing fails"
	case k == 13 && len(c.DaemonSets) > 0 && c.IntN(3) == 0:
		// As an older manager wrote it.
		ds := c.DaemonSets[c.IntN(len(c.DaemonSets))].DeepCopy()
		delete(ds.Labels, v1alpha1.LabelList)
		delete(ds.Spec.Template.Labels, v1alpha1.LabelList)
		c.put(ds)
		what = "no label " + ds.Name
	case k < 18:
		what = "plan " + c.act(c.IntN(3) > 0, c.IntN(3) > 0)
	default:
		if c.IntN(2) == 0 {
			c.seen = c.DaemonSets
		}
		c.control()
		if c.IntN(2) == 0 {
			c.kubelets()
		}
		what = "controller"
	}
	if what != "" {
		c.log = append(c.log, what)
	}
	c.now = c.now.Add(time.Duration(c.IntN(20)) * time.Second)
}

func (c *chaos) put(ds *appsv1.DaemonSet) {
	c.drop(ds.Name)
	c.DaemonSets = append(c.DaemonSets, ds)
}

// act makes a plan and carries out those parts of it that are due.
func (c *chaos) act(moves, writes bool) string {
	p := Make(c.State, c.options, c.now)
	done := Plan{Statuses: p.Statuses}
	if moves {
		done.UpdateInPlace, done.DeleteOrphaned, done.DeletePods, done.Skips = p.UpdateInPlace, p.DeleteOrphaned, p.DeletePods, p.Skips
	}
	if writes {
		done.Roll, done.DeleteEmpty = p.Roll, p.DeleteEmpty
	}
	for _, ds := range slices.Concat(done.UpdateInPlace, done.Roll) {
		c.write(ds)
	}
	for _, ds := range slices.Concat(done.DeleteEmpty, done.DeleteOrphaned) {
		c.drop(ds.Name)
		c.deletePods(func(p *corev1.Pod) bool { return daemonSetOf(p) == ds.Name })
	}
	c.deletePods(func(p *corev1.Pod) bool { return slices.Contains(done.DeletePods, p) })
	c.skip(done.Skips)
	c.carryOut(Plan{Statuses: done.Statuses})
	return shownPlan(done)
}

// write stores a DaemonSet as the reconciler and the API server do, with a few defaults.
func (c *chaos) write(ds *appsv1.DaemonSet) {
	next := ds.DeepCopy()
	next.CreationTimestamp = metav1.NewTime(c.now)
	if was := c.DaemonSet(ds.Name); was != nil {
		next = was.DeepCopy()
		next.Spec = *ds.Spec.DeepCopy()
		metav1.SetMetaDataAnnotation(&next.ObjectMeta, AnnotationSpecHash, ds.Annotations[AnnotationSpecHash])
		for key, value := range ds.Labels {
			metav1.SetMetaDataLabel(&next.ObjectMeta, key, value)
		}
	}
	next.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyAlways
	for i := range next.Spec.Template.Spec.InitContainers {
		next.Spec.Template.Spec.InitContainers[i].TerminationMessagePath = corev1.TerminationMessagePathDefault
	}
	c.put(next)
	c.Accepted[ds.Name] = AcceptedHash(&next.Spec)
}

func shownPlan(p Plan) string {
	var words []string
	for what, list := range map[string][]*appsv1.DaemonSet{"write": p.Roll, "move": p.UpdateInPlace, "remove": p.DeleteEmpty, "drop": p.DeleteOrphaned} {
		for _, ds := range list {
			words = append(words, fmt.Sprintf("%s %s %s %s", what, ds.Name, ds.Labels[v1alpha1.LabelList], ds.Spec.UpdateStrategy.Type))
		}
	}
	for _, pod := range p.DeletePods {
		words = append(words, "evict "+pod.Name)
	}
	for _, s := range p.Skips {
		words = append(words, "skip "+s.Pod.Name+" "+s.Container)
	}
	for _, s := range p.Statuses {
		words = append(words, "status "+s.Name)
	}
	slices.Sort(words)
	return strings.Join(words, ", ")
}

func (c *chaos) deletePods(gone func(*corev1.Pod) bool) {
	c.Pods = slices.DeleteFunc(slices.Clone(c.Pods), gone)
}

// quiesce waits until nothing is left to do, and returns false if that does not come.
func (c *chaos) quiesce() bool {
	for range 400 {
		before := podNames(c.Pods)
		p := Make(c.State, c.options, c.now)
		did := c.act(true, true)
		c.seen = c.DaemonSets
		c.control()
		c.kubelets()
		c.log = append(c.log, "quiesce "+did)
		switch {
		case did != "" || !slices.Equal(before, podNames(c.Pods)):
			c.now = c.now.Add(10 * time.Second)
		case p.Next.After(c.now):
			c.now = p.Next
		default:
			return true
		}
	}
	return false
}

func podNames(pods []*corev1.Pod) []string {
	var names []string
	for _, p := range pods {
		names = append(names, fmt.Sprint(p.Name, warmth.Ready(p)))
	}
	return names
}

// check checks that every node has what it should have, and nothing else.
func (c *chaos) check(t *testing.T) {
	t.Helper()
	p := Make(c.State, c.options, c.now)
	for _, cp := range p.Classes {
		var all []Listed
		for _, l := range cp.lanes {
			ds := c.DaemonSet(l.name)
			// Where a lane has no room, the one that an image is to leave keeps it.
			if (ds != nil) != (len(l.list) > 0) || l.number > c.options.PullsPerNode && len(c.full) == 0 {
				t.Errorf("lane %s with %d images has a DaemonSet: %v", l.name, len(l.list), ds != nil)
			}
			if held := c.checkDivision(t, ds); held > 0 && !(c.options.ImageVolumes && cp.MountsImages()) {
				t.Errorf("lane %s holds %d images, and cannot mount them", l.name, held)
			}
			for _, listed := range ListOf(ds) {
				if named(all, listed.Name) != nil && len(c.full) == 0 {
					t.Errorf("%s is in two lanes of class %s", listed.Name, cp.Name)
				}
				all = append(all, listed)
			}
		}
		if c.options.ImageVolumes && cp.MountsImages() && len(c.full) == 0 {
			c.checkAllIsHeld(t, cp, all)
		}
		for _, i := range cp.Images {
			if (named(all, i.Name) != nil) != (i.over.reason == "" && !cp.withheld[i.Candidate]) {
				t.Errorf("%s is in a list of class %s: %v, and the budget leaves it out with %q", i.Name, cp.Name, named(all, i.Name) != nil, i.over.reason)
			}
		}
		for _, n := range cp.Nodes {
			var pods []string
			for _, pod := range c.Pods {
				if warmth.NodeOf(pod) == n.Name {
					pods = append(pods, daemonSetOf(pod)+" "+pod.Labels[v1alpha1.LabelList])
				}
			}
			if c.full[n.Name] {
				continue
			}
			var want []string
			for _, l := range cp.lanes {
				if l.stored != nil && !nodeclass.UnderPressure(n) {
					want = append(want, l.name+" "+l.stored.Labels[v1alpha1.LabelList])
				}
			}
			slices.Sort(pods)
			if !slices.Equal(pods, want) {
				t.Errorf("%s has pods %v, want %v", n.Name, pods, want)
			}
			for _, pod := range c.Pods {
				if pod.Spec.NodeName == n.Name && !warmth.Ready(pod) {
					t.Errorf("%s on %s is not ready", pod.Name, n.Name)
				}
			}
		}
	}
	for i := range c.Nodes {
		onIt := func(p *corev1.Pod) bool { return warmth.NodeOf(p) == c.Nodes[i].Name }
		if nodeclass.VirtualBy(&c.Nodes[i]) != "" && slices.ContainsFunc(c.Pods, onIt) {
			t.Errorf("the virtual %s has a pod", c.Nodes[i].Name)
		}
	}
	c.Accepted = map[string]string{}
	if again := shownPlan(Make(c.State, c.options, c.now.Add(time.Second))); again != "" {
		t.Errorf("a new leader finds something to do: %s", again)
	}
}

// checkFixedPoint checks that what is written does not lead to another write while nothing else happens. A roll may end as
// pods are deleted, and then the surge is what it was.
func (c *chaos) checkFixedPoint(t *testing.T) {
	t.Helper()
	for range 3 {
		c.act(true, true)
	}
	p := Make(c.State, c.options, c.now)
	p.Statuses = nil
	if again := shownPlan(p); again != "" {
		t.Errorf("written a fourth time: %s", again)
	}
}
