package cluster

import (
	"context"
	"os"
	"testing"
	"time"
)

func TestTry(t *testing.T) {
	start := time.Now()
	c, err := Up(t.Context(), Options{Dir: t.TempDir(), Nodes: []Node{{Name: "node-1"}, {Name: "node-2"}}, Progress: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	t.Log("up", time.Since(start))
	out, err := c.Kubectl(t.Context(), "get", "nodes,svc,endpointslices", "-A", "-o", "wide")
	t.Log(out, err)
	start = time.Now()
	if err := c.Down(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Log("down", time.Since(start))
}
