package inventory

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/plan"
	"github.com/kube-prepull/kube-prepull/prepull/warmth"
)

func TestNodeOf(t *testing.T) {
	t.Parallel()
	done := func(name string, seconds int) warmth.Pull {
		return warmth.Pull{Name: name, State: warmth.PullDone, Took: time.Duration(seconds) * time.Second}
	}
	active := warmth.Pull{Name: "b", State: warmth.PullActive}
	fails := warmth.Pull{Name: "b", State: warmth.PullFailed, Reason: "NotFound", Message: "gone"}
	queued := func(name string) warmth.Pull { return warmth.Pull{Name: name, State: warmth.PullQueued} }
	pod := func(list string, pulls ...warmth.Pull) *prepullPod {
		return &prepullPod{name: list, list: list, pulls: pulls}
	}
	lane := func(p *prepullPod) *prepullPod { p.lane = "2"; return p }
	leaving := func(p *prepullPod) *prepullPod { p.leaving = true; return p }
	tests := map[string]struct {
		present map[string]int64
		change  func(*corev1.Node)
		pods    []*prepullPod
		want    NodeState
		message string
		images  string // R, P, F or Q for each
		refused string
	}{
		"all is there":                        {pods: []*prepullPod{pod("now", done("a", 1), done("b", 9))}, want: NodeComplete, images: "RR"},
		"one is pulled":                       {pods: []*prepullPod{pod("now", done("a", 1), active)}, want: NodePulling, message: "pulling repo/b", images: "RP"},
		"the other one is queued":             {pods: []*prepullPod{pod("now", warmth.Pull{Name: "a", State: warmth.PullActive}, queued("b"))}, want: NodePulling, message: "pulling repo/a", images: "PQ"},
		"one fails":                           {pods: []*prepullPod{pod("now", done("a", 1), fails)}, want: NodeFailing, message: "repo/b: gone", images: "RF"},
		"the old pod has it, the new one not": {pods: []*prepullPod{pod("now", done("a", 1), queued("b")), pod("before", done("b", 3))}, want: NodeComplete, images: "RR"},
		"it failed in the old pod":            {pods: []*prepullPod{pod("now", done("a", 1), active), pod("before", fails)}, want: NodePulling, message: "pulling repo/b", images: "RP"},
		"it fails in a pod that leaves":       {pods: []*prepullPod{leaving(pod("before", fails))}, want: NodePulling, message: "waiting for its turn to get the new list", images: "QQ"},
		"no pod, and the node has both":       {present: map[string]int64{"repo/a": 5, "repo/b": 6}, want: NodeComplete, images: "RR"},
		"its pod waits for a mirror":          {pods: []*prepullPod{{name: "p", list: "now", gated: true}}, want: NodePulling, message: "its prepull pod waits for the mirror of the node, or for another node of its zone", images: "QQ"},
		"no pod yet":                          {want: NodePulling, message: "its prepull pod has not started", images: "QQ"},
		"no pod is let in":                    {refused: "exceeded quota", want: NodeFailing, message: "its prepull pod is refused: exceeded quota", images: "QQ"},
		"no pod with the new list is let in":  {refused: "exceeded quota", pods: []*prepullPod{pod("before", done("a", 1))}, want: NodeFailing, message: "its prepull pod is refused: exceeded quota", images: "RQ"},
		"others are refused":                  {refused: "exceeded quota", pods: []*prepullPod{pod("now", done("a", 1), active)}, want: NodePulling, message: "pulling repo/b", images: "RP"},
		"listed, and failing nevertheless":    {present: map[string]int64{"repo/a": 5, "repo/b": 6}, pods: []*prepullPod{pod("now", done("a", 1), fails)}, want: NodeFailing, message: "repo/b: gone", images: "RF"},
		"the pod does not get to its images": {
			pods: []*prepullPod{{name: "p", list: "now", pulls: []warmth.Pull{queued("a"), queued("b")}, stuck: "noop is gone"}},
			want: NodeFailing, message: "its prepull pod does not get to its images: noop is gone", images: "QQ",
		},
		"two at a time":        {pods: []*prepullPod{pod("now", warmth.Pull{Name: "a", State: warmth.PullActive}), lane(pod("too", active))}, want: NodePulling, message: "pulling repo/a, repo/b", images: "PP"},
		"each brings its part": {pods: []*prepullPod{pod("now", done("a", 1)), lane(pod("too", done("b", 9)))}, want: NodeComplete, images: "RR"},
		"one of two does not get to its images": {
			pods: []*prepullPod{{name: "p", list: "now", pulls: []warmth.Pull{queued("a")}, stuck: "noop is gone"}, lane(pod("too", done("b", 9)))},
			want: NodeFailing, message: "its prepull pod does not get to its images: noop is gone", images: "QR",
		},
		"cordoned":      {change: func(n *corev1.Node) { n.Spec.Unschedulable = true }, want: NodeNotReady, message: "it is cordoned", images: "QQ"},
		"not ready":     {change: func(n *corev1.Node) { n.Status.Conditions = nil }, want: NodeNotReady, message: "it is not ready", images: "QQ"},
		"another class": {change: func(n *corev1.Node) { n.Labels["pool"] = "x" }, want: NodeNotSelected, message: "no image is wanted there"},
		"a virtual node": {
			change: func(n *corev1.Node) { n.Labels["eks.amazonaws.com/compute-type"] = "fargate" }, pods: []*prepullPod{pod("now", done("a", 1))},
			want: NodeNotSelected, message: "it is a virtual node, which runs no DaemonSet pods (label eks.amazonaws.com/compute-type=fargate)",
		},
		"Windows": {change: func(n *corev1.Node) { n.Labels[corev1.LabelOSStable] = "windows" }, want: NodeNotSelected, message: "it does not run Linux"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := &machine{images: test.present, node: &corev1.Node{
				ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: map[string]string{corev1.LabelOSStable: "linux", "pool": "web"}},
				Status:     corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}},
			}}
			if test.change != nil {
				test.change(m.node)
			}
			f := &Fleet{
				machines: []*machine{m}, pods: map[string][]*prepullPod{"n": test.pods},
				lists: []*list{{
					refused: test.refused,
					class:   "web", labels: []string{"now", "too"}, images: []plan.Listed{{Name: "a", Image: "repo/a"}, {Name: "b", Image: "repo/b"}},
					placement: v1alpha1.Placement{NodeSelector: map[string]string{corev1.LabelOSStable: "linux", "pool": "web"}},
				}},
			}
			got := f.Nodes()[0]
			images := ""
			for _, i := range got.Images {
				images += string(i.State)[:1]
			}
			if got.State != test.want || got.Message != test.message || images != test.images {
				t.Errorf("got %s %q %s, want %s %q %s", got.State, got.Message, images, test.want, test.message, test.images)
			}
		})
	}
}

func TestTheSumsOfAClass(t *testing.T) {
	t.Parallel()
	f := &Fleet{lists: []*list{{class: "a", images: make([]plan.Listed, 4)}, {class: "b"}}}
	got := f.Classes([]Node{
		{Class: "a", State: NodeComplete, ImageCount: 4, ReadyCount: 4},
		{Class: "a", State: NodePulling, ImageCount: 4, ReadyCount: 1},
		{Class: "a", State: NodeNotReady, ImageCount: 4},
		{State: NodeNotSelected},
	})
	want := []Class{
		{Name: "a", ImageCount: 4, Nodes: NodeSums{Total: 3, Complete: 1, Pulling: 1, NotReady: 1}, PullCount: 8, PullsDone: 5},
		{Name: "b"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got[0].Done() || got[0].Share() != 0.625 || !got[1].Done() || got[1].Share() != 1 {
		t.Errorf("a is done: %v, by %v; b is done: %v, by %v", got[0].Done(), got[0].Share(), got[1].Done(), got[1].Share())
	}
}

func TestTheListsOfAClassAreOne(t *testing.T) {
	t.Parallel()
	f := &Fleet{}
	for lane, images := range [][]string{{"a", "b"}, {"b", "c"}} {
		ds := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{v1alpha1.LabelNodeClass: "web", v1alpha1.LabelList: fmt.Sprint(lane)}}}
		ds.Spec.Template.Spec.InitContainers = []corev1.Container{{Name: "install"}}
		for _, image := range images {
			ds.Spec.Template.Spec.InitContainers = append(ds.Spec.Template.Spec.InitContainers, corev1.Container{Name: image, Image: image})
		}
		f.addDaemonSet(ds)
	}
	if len(f.lists) != 1 || len(f.lists[0].images) != 3 || !slices.Equal(f.lists[0].labels, []string{"0", "1"}) {
		t.Errorf("got %d lists, the first %+v", len(f.lists), f.lists[0])
	}
}
