package learn

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/kube-prepull/kube-prepull/e2e/images"
	"github.com/kube-prepull/kube-prepull/e2e/lab"
	"github.com/kube-prepull/kube-prepull/e2e/registry"
)

// TestANodeGoesOnWithoutAnImageThatOthersHave has a node join that cannot pull the first of three images, which init containers
// bring: the node gets the other two, and nobody a new list.
func TestANodeGoesOnWithoutAnImageThatOthersHave(t *testing.T) {
	t.Parallel()
	p := product{lab.Lease(t, "--set", "config.imageVolumes=false")}
	k := lab.PluginFor(t, p.Cluster)
	p.Namespace(t, "shop", true)
	var list []string
	for i := range 3 {
		image := p.Push(t, fmt.Sprintf("shop/skip-%d:v1", i), images.Image{Size: 1 << 20, Seed: uint64(740 + i)})
		p.Deploy(t, "shop", lab.Deployment(fmt.Sprint("skip-", i), image, 0))
		list = append(list, image)
	}
	for _, image := range list {
		p.WaitState(t, image, "Ready")
	}
	first := strings.TrimSuffix(strings.TrimPrefix(p.DaemonSets(t)[0].Spec.Template.Spec.InitContainers[1].Image, p.Registry.Addr()+"/"), ":v1")
	p.Registry.SetFault(first, registry.Refuse(http.StatusNotFound))
	defer p.Registry.LiftFault(first)
	before := p.Generations(t)
	if err := p.AddNode(t.Context(), clusterNode("node-3")); err != nil {
		t.Fatal(err)
	}
	for _, image := range list {
		name := strings.TrimSuffix(strings.TrimPrefix(image, p.Registry.Addr()+"/"), ":v1")
		state, ready := "Ready", "3/3"
		if name == first {
			state, ready = "PullFailed: not found", "2/3"
		}
		lab.Eventually(t, fmt.Sprintf("%s to be %s on %s nodes", name, state, ready), func() error {
			o := p.PrepullImage(t, image)
			if is, on := lab.Field(o, "status", "state"), lab.Field(o, "status", "ready"); is != state || on != ready {
				return fmt.Errorf("it is %s on %s", is, on)
			}
			return nil
		})
	}
	lab.Eventually(t, "all prepull pods to be ready", func() error {
		for _, pod := range p.PrepullPods(t) {
			if !lab.PodRunning(&pod) {
				return errors.New(pod.Name + " is not")
			}
		}
		return nil
	})
	if after := p.Generations(t); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("an image that one node lacks gives all a new list: %v, before %v", after, before)
	}
	if out, _, _ := k.Run(t, "nodes"); !strings.Contains(out, "2/3") || !strings.Contains(out, first) {
		t.Errorf("the plugin does not say what node-3 lacks:\n%s", out)
	}
}
