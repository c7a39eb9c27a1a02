package learn

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/kube-prepull/kube-prepull/e2e/images"
	"github.com/kube-prepull/kube-prepull/e2e/lab"
	"github.com/kube-prepull/kube-prepull/e2e/registry"
)

// TestProvenImagesAreHeld brings five images, which the next change of the list holds; then a node joins that cannot pull one
// of those any more.
func TestProvenImagesAreHeld(t *testing.T) {
	t.Parallel()
	lab.RequireKubernetes(t, lab.ImageVolumes, "image volumes")
	p := product{lab.Lease(t)}
	k := lab.PluginFor(t, p.Cluster)
	p.Namespace(t, "shop", true)
	var held []string
	for i := range 5 {
		image := p.Push(t, fmt.Sprintf("shop/app-%d:v1", i), images.Image{Size: 1 << 20, Seed: uint64(700 + i)})
		p.Deploy(t, "shop", lab.Deployment(fmt.Sprint("app-", i), image, 0))
		held = append(held, image)
	}
	for _, image := range held {
		p.WaitState(t, image, "Ready")
	}
	pods := lab.PodIdentities(p.PrepullPods(t))
	p.WaitHeld(t, held...)
	if after := lab.PodIdentities(p.PrepullPods(t)); !slices.Equal(after, pods) {
		t.Errorf("to hold what is there restarts pods: %v, before %v", after, pods)
	}
	next := p.Push(t, "shop/next:v1", images.Image{Size: 1 << 20, Seed: 710})
	p.Registry.ResetCounts()
	p.Deploy(t, "shop", lab.Deployment("next", next, 0))
	p.WaitState(t, next, "Ready")
	held = append(held, next)
	p.WaitHeld(t, held...)
	for _, image := range held {
		p.WaitState(t, image, "Ready")
	}
	if got := p.Registry.Counts("shop/app-*"); got.BlobGets > 0 {
		t.Errorf("to hold an image downloads it again: %+v", got)
	}
	if out, _, _ := k.Run(t, "nodes"); strings.Count(out, "6/6") != 2 || strings.Count(out, "Complete") != 2 {
		t.Errorf("the plugin says of the nodes:\n%s", out)
	}

	p.Registry.SetFault("shop/app-1", registry.Refuse(http.StatusNotFound))
	before := p.Generations(t)
	if err := p.AddNode(t.Context(), clusterNode("node-3")); err != nil {
		t.Fatal(err)
	}
	gone := p.WaitState(t, held[1], "PullFailed: not found")
	if got := lab.Field(gone, "status", "ready"); got != "2/3" {
		t.Errorf("the image that is gone is on %s nodes, want 2/3", got)
	}
	lab.Eventually(t, "the other images to be on node-3", func() error {
		for _, image := range slices.Delete(slices.Clone(held), 1, 2) {
			if got := lab.Field(p.PrepullImage(t, image), "status", "ready"); got != "3/3" {
				return fmt.Errorf("%s is on %s", image, got)
			}
		}
		return nil
	})
	if out, _, _ := k.Run(t, "nodes"); !strings.Contains(out, "5/6") || !strings.Contains(out, held[1]+": ") {
		t.Errorf("the plugin does not say what node-3 lacks:\n%s", out)
	}
	if after := p.Generations(t); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("an image that one node lacks gives all a new list: %v, before %v", after, before)
	}
	p.Registry.LiftFault("shop/app-1")
	lab.Eventually(t, "the image to be on node-3 again", func() error {
		if got := lab.Field(p.PrepullImage(t, held[1]), "status", "state"); got != "Ready" {
			return errors.New("it is " + got)
		}
		return nil
	})
	// Switched off and on again, nothing is pulled.
	p.Registry.ResetCounts()
	p.Configure(t, "--set", "config.imageVolumes=false")
	p.WaitHeld(t)
	p.waitRolled(t)
	p.Configure(t, "--set", "config.imageVolumes=true")
	p.WaitHeld(t, held...)
	if got := p.Registry.Counts("shop/*"); got.BlobGets > 0 {
		t.Errorf("to switch image volumes off and on downloads images again: %+v", got)
	}
}

// waitRolled returns when every node has one prepull pod, ready and with the list of the only DaemonSet.
func (p product) waitRolled(t *testing.T) {
	t.Helper()
	lab.Eventually(t, "the roll to end", func() error {
		list := p.DaemonSets(t)[0].Labels["kube-prepull.io/list"]
		nodes := map[string]bool{}
		for _, pod := range p.PrepullPods(t) {
			if pod.Labels["kube-prepull.io/list"] != list || !lab.PodRunning(&pod) || nodes[pod.Spec.NodeName] {
				return errors.New(pod.Name + " is not ready, has another list, or is not alone")
			}
			nodes[pod.Spec.NodeName] = true
		}
		return nil
	})
}
