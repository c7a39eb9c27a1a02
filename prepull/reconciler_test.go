package prepull

import (
	"context"
	"errors"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// refusing is a client of an API server that creates nothing.
type refusing struct {
	client.Client
	asked int
}

func (c *refusing) Create(context.Context, client.Object, ...client.CreateOption) error {
	c.asked++
	return errors.New("refused")
}

func TestARefusedMoveIsNotTriedAgainEachSecond(t *testing.T) {
	t.Parallel()
	api := &refusing{}
	r := &reconciler{client: api, nodes: newNodeWriter(api, Gate{}), accepted: map[string]string{}, refused: map[string]string{}}
	p := plan{move: []*appsv1.DaemonSet{{}}}
	for second := range 30 {
		_, _ = r.moveIfDue(t.Context(), state{}, p, false, noon.Add(time.Duration(second)*time.Second))
	}
	if api.asked < 2 || api.asked > 4 {
		t.Errorf("tried %d times in 30 seconds", api.asked)
	}
}
