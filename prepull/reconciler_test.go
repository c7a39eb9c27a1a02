package prepull

import (
	"context"
	"errors"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/clock"
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

func TestNodesAreMarkedAfterTheFirstResync(t *testing.T) {
	t.Parallel()
	late, warm, says := plan.Release{Node: "late", Late: true}, plan.Release{Node: "warm"}, plan.ConditionChange{Node: "says"}
	for name, tc := range map[string]struct {
		resynced bool
		plan     plan.Plan
		nodes    int
		again    time.Time
	}{
		"before":                      {false, plan.Plan{Releases: []plan.Release{late, warm}, Conditions: []plan.ConditionChange{says}}, 1, prepulltest.Noon.Add(clock.Production().FirstResyncPace)},
		"before, with nothing to say": {false, plan.Plan{}, 0, time.Time{}},
		"then":                        {true, plan.Plan{Releases: []plan.Release{late, warm}, Conditions: []plan.ConditionChange{says}}, 3, time.Time{}},
	} {
		api := &counting{nodes: map[string]int{}}
		r := &reconciler{options: Options{Options: planOptions, Clocks: clock.Production()}, nodes: newNodeWriter(api, testGate, clock.Production(), testGateMetrics(t))}
		again, err := r.markNodes(t.Context(), tc.plan, tc.resynced, prepulltest.Noon)
		if err != nil || len(api.nodes) != tc.nodes || !again.Equal(tc.again) {
			t.Errorf("%s: %d nodes were written, again at %v (%v)", name, len(api.nodes), again, err)
		}
	}
}

func TestARefusedMoveIsNotTriedAgainEachSecond(t *testing.T) {
	t.Parallel()
	api := &refusing{}
	w := newDaemonSetWriter(api, clock.Production(), testMetrics(t))
	p := plan.Plan{UpdateInPlace: []*appsv1.DaemonSet{{}}}
	for second := range 30 {
		_, _ = w.updateIfDue(t.Context(), plan.State{}, p, false, prepulltest.Noon.Add(time.Duration(second)*time.Second))
	}
	if api.asked < 2 || api.asked > 4 {
		t.Errorf("tried %d times in 30 seconds", api.asked)
	}
}
