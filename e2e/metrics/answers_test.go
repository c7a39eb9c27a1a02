package metrics

import (
	"github.com/kube-prepull/kube-prepull/e2e/lab"

	"fmt"
	"slices"
	"strings"
	"testing"
)

// answers asks the plugin what a person who is new here asks, and compares with the registry's own counts and the kubelets'
// words: which image is missing where and why, how much time was saved, and what the next nodes should bring. good is on
// both nodes, where a pull of it took some seconds on the one that started pods afterwards; bad does not exist.
func (p product) answers(t *testing.T, good, bad string, took float64) {
	t.Helper()
	k := lab.PluginFor(t, p.Cluster)

	var missing struct {
		State, Reason string
		OnNodes       []struct{ Node, State string }
	}
	k.Asks(t, &missing, "explain", bad)
	where := []string{}
	for _, n := range missing.OnNodes {
		if n.State != "Ready" {
			where = append(where, n.Node)
		}
	}
	slices.Sort(where)
	if missing.State != "Failing" || missing.Reason != "NotFound" || fmt.Sprint(where) != "[node-1 node-2]" {
		t.Errorf("%s is %s (%s), and missing on %v", bad, missing.State, missing.Reason, where)
	}
	if c := p.Registry.Counts("shop/broken"); c.ManifestGets+c.ManifestHeads == 0 || c.BlobBytes != 0 {
		t.Errorf("the registry was asked for %s, which does not exist: %+v", bad, c)
	}

	var status struct {
		LastHour struct {
			Count, Hits                 int
			SavedSeconds, WaitedSeconds float64
		}
	}
	lab.Eventually(t, "the time that was saved", func() error {
		k.Asks(t, &status, "status")
		if !near(status.LastHour.SavedSeconds, took, .01) {
			return fmt.Errorf("it is %v s, and the kubelet says that the pull took %v s", status.LastHour.SavedSeconds, took)
		}
		return nil
	})
	if counted := p.sum(t, "kube_prepull_saved_seconds_total"); !near(status.LastHour.SavedSeconds, counted, .01) {
		t.Errorf("the plugin says that %v s were saved, the manager %v s", status.LastHour.SavedSeconds, counted)
	}
	// Each node got the image once: whatever started beside it cost the registry nothing.
	if sent, size := p.Registry.Counts("shop/app").BlobBytes, int64(24<<20); sent < 2*size || sent >= 3*size {
		t.Errorf("the registry sent %d bytes of an image of %d to two nodes", sent, size)
	}

	list, stderr, code := k.Run(t, "export", "--node", "node-1", "--format", "list")
	if images := strings.Fields(list); code != 0 || !slices.Contains(images, good) || slices.Contains(images, bad) {
		t.Errorf("the next node should bring %v (exit code %d: %s)", images, code, stderr)
	}
	script, _, code := k.Run(t, "export", "--node", "node-1", "--format", "eks-user-data")
	if code != 0 || !strings.Contains(script, good) || strings.Contains(script, bad) {
		t.Errorf("a launch template (exit code %d) is\n%s", code, script)
	}
}
