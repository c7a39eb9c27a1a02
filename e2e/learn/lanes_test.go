package learn

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/kube-prepull/kube-prepull/e2e/images"
	"github.com/kube-prepull/kube-prepull/e2e/lab"
)

// TestSeveralPullsAtATime gives each node three prepull pods, then one again: what is there moves among them and is not pulled
// again, and what is new comes.
func TestSeveralPullsAtATime(t *testing.T) {
	t.Parallel()
	p := product{lab.Lease(t)}
	k := lab.PluginFor(t, p.Cluster)
	p.Namespace(t, "shop", true)
	deploy := func(i int) string {
		image := p.Push(t, fmt.Sprintf("shop/lane-%d:v1", i), images.Image{Size: 1 << 20, Seed: uint64(900 + i)})
		p.Deploy(t, "shop", lab.Deployment(fmt.Sprint("lane-", i), image, 0))
		return image
	}
	for i := range 4 {
		p.WaitState(t, deploy(i), "Ready")
	}
	p.waitLanes(t, 1, 4)
	p.Registry.ResetCounts()
	p.Configure(t, "--set", "config.pullsPerNode=3")
	p.waitLanes(t, 3, 4)
	if got := p.Registry.Counts("shop/lane-*"); got.BlobGets > 0 {
		t.Errorf("more prepull pods download images again: %+v", got)
	}
	p.WaitState(t, deploy(4), "Ready")
	p.waitLanes(t, 3, 5)
	if out, _, _ := k.Run(t, "nodes"); strings.Count(out, "5/5") != 2 || strings.Count(out, "Complete") != 2 {
		t.Errorf("the plugin says of the nodes:\n%s", out)
	}
	p.Registry.ResetCounts()
	p.Configure(t, "--set", "config.pullsPerNode=1")
	p.waitLanes(t, 1, 5)
	if got := p.Registry.Counts("shop/lane-*"); got.BlobGets > 0 {
		t.Errorf("fewer prepull pods download images again: %+v", got)
	}
}

// waitLanes returns when so many images are in so many DaemonSets, each in one, and every node has one ready pod of each.
func (p product) waitLanes(t *testing.T, count, images int) {
	t.Helper()
	lab.Eventually(t, fmt.Sprintf("%d images in %d lanes", images, count), func() error {
		listed, nodes := map[string]string{}, map[string]int{}
		sets := p.DaemonSets(t)
		current := map[string]string{} // lists by the names of DaemonSets
		for i := range sets {
			ds := &sets[i]
			current[ds.Name] = ds.Labels["kube-prepull.io/list"]
			for image := range lab.ImagesOf(&ds.Spec.Template.Spec) {
				if other := listed[image]; other != "" {
					return fmt.Errorf("%s is in %s and in %s", image, other, ds.Name)
				}
				listed[image] = ds.Name
			}
		}
		if len(sets) != count || len(listed) != images {
			return fmt.Errorf("%d images are in %d lanes", len(listed), len(sets))
		}
		for _, pod := range p.PrepullPods(t) {
			if !lab.PodRunning(&pod) || pod.Labels["kube-prepull.io/list"] != current[pod.OwnerReferences[0].Name] {
				return errors.New(pod.Name + " does not run, or has another list")
			}
			nodes[pod.Spec.NodeName]++
		}
		for node, pods := range nodes {
			if pods != count {
				return fmt.Errorf("%s has %d prepull pods", node, pods)
			}
		}
		return nil
	})
}
