package prepull

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/clock"
	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/plan"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
)

// counting is a client that counts what is written, by node, and answers with an error.
type counting struct {
	client.Client
	nodes  map[string]int
	events []*corev1.Event
	err    error
}

func (c *counting) Patch(_ context.Context, o client.Object, _ client.Patch, _ ...client.PatchOption) error {
	c.nodes[o.GetName()]++
	return c.err
}

func (c *counting) Create(_ context.Context, o client.Object, _ ...client.CreateOption) error {
	c.events = append(c.events, o.(*corev1.Event))
	return nil
}

func (c *counting) Status() client.SubResourceWriter { return statuses{api: c} }

type statuses struct {
	client.SubResourceWriter
	api *counting
}

func (s statuses) Patch(ctx context.Context, o client.Object, _ client.Patch, _ ...client.SubResourcePatchOption) error {
	return s.api.Patch(ctx, o, nil)
}

// Thousands of nodes have other words after each new image: they take their time, and those that turn do not wait for them.
func TestWordsOfManyNodesAreWrittenBitByBit(t *testing.T) {
	t.Parallel()
	api := &counting{nodes: map[string]int{}}
	w := newNodeWriter(api, testGate, clock.Production(), testGateMetrics(t))
	var p plan.Plan
	for i := range 150 {
		p.Conditions = append(p.Conditions, plan.ConditionChange{Node: fmt.Sprint("turns-", i), UID: types.UID(fmt.Sprint("turns-", i))})
	}
	for i := range 50 {
		p.Conditions = append(p.Conditions, plan.ConditionChange{Node: fmt.Sprint("says-", i), UID: types.UID(fmt.Sprint("says-", i)), Minor: true})
	}
	again, err := w.act(t.Context(), p, prepulltest.Noon)
	if err != nil || len(api.nodes) != conditionBatch+wordsBatch || !again.Equal(prepulltest.Noon) {
		t.Errorf("%d nodes were written (%v), again at %v", len(api.nodes), err, again)
	}

	// The words of one node wait, even if nobody else has any.
	p.Conditions = p.Conditions[150:151]
	if again, _ = w.act(t.Context(), p, prepulltest.Noon.Add(9*time.Second)); api.nodes["says-0"] != 1 || !again.Equal(prepulltest.Noon.Add(clock.Production().ProgressInterval)) {
		t.Errorf("written %d times, again at %v", api.nodes["says-0"], again)
	}
	if again, _ = w.act(t.Context(), p, prepulltest.Noon.Add(clock.Production().ProgressInterval)); api.nodes["says-0"] != 2 || !again.IsZero() {
		t.Errorf("written %d times, again at %v", api.nodes["says-0"], again)
	}
}

func TestANodeThatIsNotAsItWasIsLeftToTheNextPass(t *testing.T) {
	t.Parallel()
	r := plan.Release{Node: "a", UID: "a", Taints: map[int]corev1.Taint{0: {Key: v1alpha1.TaintWarming}}, Reason: plan.ReleaseDeadline, Words: "late"}
	c := plan.ConditionChange{Node: "b", UID: "b"}
	nodes := corev1.Resource("nodes")
	for name, tc := range map[string]struct {
		err    error
		events int
		again  time.Time
		fails  bool
	}{
		"all is well":             {nil, 1, time.Time{}, false},
		"the node is gone":        {apierrors.NewNotFound(nodes, "a"), 0, prepulltest.Noon.Add(clock.Production().PassPace), false},
		"it is another one":       {apierrors.NewConflict(nodes, "a", errors.New("uid")), 0, prepulltest.Noon.Add(clock.Production().PassPace), false},
		"its taints have changed": {&apierrors.StatusError{ErrStatus: metav1.Status{Reason: metav1.StatusReasonInvalid}}, 0, prepulltest.Noon.Add(clock.Production().PassPace), false},
		"it is refused":           {apierrors.NewForbidden(nodes, "a", errors.New("no")), 0, time.Time{}, true},
	} {
		api := &counting{nodes: map[string]int{}, err: tc.err}
		again, err := newNodeWriter(api, testGate, clock.Production(), testGateMetrics(t)).act(t.Context(), plan.Plan{Releases: []plan.Release{r}, Conditions: []plan.ConditionChange{c}}, prepulltest.Noon)
		if len(api.events) != tc.events || !again.Equal(tc.again) || (err != nil) != tc.fails || len(api.nodes) != 2 {
			t.Errorf("%s: %d Events, again at %v, error %v, %d nodes", name, len(api.events), again, err, len(api.nodes))
		}
	}
}

// A policy of the cluster answers like a node that is not as it was: tried again and again, and nobody told.
func TestANodeThatStaysAsItIsAndCannotBeWrittenIsAnError(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]plan.Plan{
		"its taint":     {Releases: []plan.Release{{Node: "a", UID: "a", Version: "1"}}},
		"its condition": {Conditions: []plan.ConditionChange{{Node: "a", UID: "a", Version: "1"}}},
	} {
		api := &counting{nodes: map[string]int{}, err: &apierrors.StatusError{ErrStatus: metav1.Status{Reason: metav1.StatusReasonInvalid}}}
		w := newNodeWriter(api, testGate, clock.Production(), testGateMetrics(t))
		if again, err := w.act(t.Context(), p, prepulltest.Noon); err != nil || again.IsZero() {
			t.Errorf("%s: %v at first, again at %v", name, err, again)
		}
		for range 3 {
			if _, err := w.act(t.Context(), p, prepulltest.Noon.Add(clock.Production().PassPace)); err == nil {
				t.Errorf("%s: it is refused again, and nobody is told", name)
			}
		}
		for i := range p.Releases {
			p.Releases[i].Version = "2"
		}
		for i := range p.Conditions {
			p.Conditions[i].Version = "2"
		}
		if _, err := w.act(t.Context(), p, prepulltest.Noon.Add(2*clock.Production().PassPace)); err != nil {
			t.Errorf("%s: another state of the node: %v", name, err)
		}
	}
}

func TestHowLongANodeIsHeldIsRemembered(t *testing.T) {
	t.Parallel()
	w := newNodeWriter(nil, testGate, clock.Production(), testGateMetrics(t))
	nodes := []corev1.Node{taintedNode("a"), prepulltest.Node("b", "amd64")}
	w.see(nodes, prepulltest.Noon)
	held := w.see(append(nodes, taintedNode("c")), prepulltest.Noon.Add(time.Second))
	if len(held) != 2 || !held[nodes[0].UID].Equal(prepulltest.Noon) {
		t.Errorf("held since %v", held)
	}
	if held = w.see(nodes[1:], prepulltest.Noon); len(held) > 0 {
		t.Errorf("nobody is held, but %v", held)
	}
}

// testGate is a gate as configured.
var testGate = plan.Gate{Enabled: true, TaintKey: v1alpha1.TaintWarming, Deadline: 5 * time.Minute}

// taintedNode is a node with the taint of the gate.
func taintedNode(name string) corev1.Node {
	n := prepulltest.Node(name, "amd64")
	n.UID = types.UID("uid-of-" + name)
	n.Spec.Taints = []corev1.Taint{{Key: v1alpha1.TaintWarming, Effect: corev1.TaintEffectNoSchedule}}
	return n
}
