package prepull

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/clock"
	"github.com/kube-prepull/kube-prepull/prepull/credentials"
	"github.com/kube-prepull/kube-prepull/prepull/plan"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
)

// planOptions are those of the plans of tests.
var planOptions = plan.Options{
	Namespace: "kube-prepull", NoopImage: "registry.test/noop:v1", MaxImagesPerNode: 50, MaxNodeClasses: 30,
	MaxConcurrentNodes: intstr.FromInt32(10), PullDeadline: 15 * time.Minute,
}

// refusing is a client of an API server that creates nothing.
type refusing struct {
	client.Client
	asked int
}

func (c *refusing) Create(context.Context, client.Object, ...client.CreateOption) error {
	c.asked++
	return errors.New("refused")
}

func TestNodesAreMarkedByWhoKnowsWhatPodsUse(t *testing.T) {
	t.Parallel()
	late, warm, says := plan.Release{Node: "late", Late: true}, plan.Release{Node: "warm"}, plan.ConditionChange{Node: "says"}
	all := plan.Plan{Releases: []plan.Release{late, warm}, Conditions: []plan.ConditionChange{says}}
	soon := prepulltest.Noon.Add(clock.Production().FirstResyncPace)
	for name, tc := range map[string]struct {
		resynced, stopping bool
		plan               plan.Plan
		nodes              int
		again              time.Time
	}{
		"before the first resync":            {false, false, all, 1, soon},
		"before, with nothing to say":        {false, false, plan.Plan{}, 0, time.Time{}},
		"then":                               {true, false, all, 3, time.Time{}},
		"a manager that was told to stop":    {true, true, all, 1, soon},
		"told to stop, with nothing to say":  {true, true, plan.Plan{}, 0, time.Time{}},
		"told to stop before it knew at all": {false, true, all, 1, soon},
	} {
		api := &counting{nodes: map[string]int{}}
		r := &reconciler{
			options: Options{Options: planOptions, Clocks: clock.Production(), Stopping: func() bool { return tc.stopping }},
			nodes:   newNodeWriter(api, testGate, clock.Production(), testGateMetrics(t)),
		}
		again, err := r.markNodes(t.Context(), tc.plan, tc.resynced, prepulltest.Noon)
		if err != nil || len(api.nodes) != tc.nodes || !again.Equal(tc.again) || api.nodes["late"] != min(tc.nodes, 1) {
			t.Errorf("%s: %v were written, again at %v (%v)", name, api.nodes, again, err)
		}
	}
}

func TestARefusedMoveIsNotTriedAgainEachSecond(t *testing.T) {
	t.Parallel()
	api := &refusing{}
	w := newDaemonSetWriter(api, Options{Clocks: clock.Production()}, testMetrics(t))
	p := plan.Plan{UpdateInPlace: []*appsv1.DaemonSet{{}}}
	for second := range 30 {
		_, _ = w.updateIfDue(t.Context(), plan.State{}, p, nil, prepulltest.Noon.Add(time.Duration(second)*time.Second))
	}
	if api.asked < 2 || api.asked > 4 {
		t.Errorf("tried %d times in 30 seconds", api.asked)
	}
}

// unlisted is a client of an API server that has one node, and nothing else.
type unlisted struct {
	client.Client
	node corev1.Node
}

func (c unlisted) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	if nodes, ok := list.(*corev1.NodeList); ok {
		nodes.Items = []corev1.Node{c.node}
	}
	return nil
}

// While the copies of pull secrets cannot be listed, no plan is carried out. Nothing but time may happen meanwhile.
func TestADeadlineIsKeptWhileNoPullSecretIsKnown(t *testing.T) {
	t.Parallel()
	node := prepulltest.Node("new", "amd64")
	node.CreationTimestamp = metav1.Now()
	node.Spec.Taints = []corev1.Taint{{Key: testGate.TaintKey, Effect: corev1.TaintEffectNoSchedule}}
	api, clocks := unlisted{node: node}, clock.Production()
	r := &reconciler{
		client: api, options: Options{Options: planOptions, Clocks: clocks}, credentials: &credentials.Keeper{}, firstResyncDone: &atomic.Bool{},
		nodes: newNodeWriter(api, testGate, clocks, testGateMetrics(t)), daemonSets: newDaemonSetWriter(api, Options{Clocks: clocks}, testMetrics(t)),
	}
	r.options.Gate = testGate
	result, err := r.Reconcile(t.Context(), key)
	if err != nil || result.RequeueAfter <= 0 || result.RequeueAfter > testGate.Deadline {
		t.Errorf("it looks again after %v, the deadline is %v (%v)", result.RequeueAfter, testGate.Deadline, err)
	}
}
