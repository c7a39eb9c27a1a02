package lab

import (
	"context"
	"testing"
	"time"

	"github.com/kube-prepull/kube-prepull/e2e/cluster"
)

// Burnt begins what a test says of the processor time that its cluster used while the test had it; how much follows.
const Burnt = "processor time of the cluster: "

// burnt is the processor time that a cluster has used so far; zero where the system does not tell.
func burnt(c *cluster.Cluster) time.Duration {
	programs, err := cluster.Burnt(c.Dir())
	if err != nil {
		return 0
	}
	var all time.Duration
	for _, used := range programs {
		all += used
	}
	return all
}

func sayBurnt(t *testing.T, c *cluster.Cluster, before time.Duration) {
	t.Helper()
	if used := burnt(c) - before; used > 0 {
		t.Log(Burnt + used.Round(100*time.Millisecond).String())
	}
}

// takeDown takes a test's own cluster down, and says what it took.
func takeDown(t *testing.T, c *cluster.Cluster, except ...span) {
	t.Helper()
	sayBurnt(t, c, 0)
	if err := collect(c, except); err != nil {
		t.Error(err)
	}
	if err := c.Down(context.Background()); err != nil {
		t.Errorf("taking the cluster down: %v", err)
	}
}
