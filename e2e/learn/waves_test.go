package learn

import (
	"github.com/kube-prepull/kube-prepull/e2e/lab"

	"fmt"
	"testing"

	"github.com/kube-prepull/kube-prepull/e2e/images"
)

// TestTheFirstListComesInWaves brings the first image of all to two nodes of which one may pull at a time.
func TestTheFirstListComesInWaves(t *testing.T) {
	t.Parallel()
	p := product{lab.Lease(t, "--set", "config.maxConcurrentNodes=1")}
	p.Namespace(t, "shop", true)
	image := p.Push(t, "shop/app:v1", images.Image{Size: 20 << 20, Seed: 331})
	p.Registry.SetBandwidth(50e6)
	p.Deploy(t, "shop", lab.Deployment("app", image, 0))
	most := 0
	lab.Eventually(t, "the image to be on both nodes", func() error {
		pulling := 0
		for _, pod := range p.PrepullPods(t) {
			if lab.PullsImage(&pod.Spec, image) && !lab.PodRunning(&pod) {
				pulling++
			}
		}
		most = max(most, pulling)
		if !p.OnNode(t, image, "node-1") || !p.OnNode(t, image, "node-2") {
			return fmt.Errorf("it is not")
		}
		return nil
	})
	if most != 1 {
		t.Errorf("%d nodes pulled at the same time, want 1", most)
	}
}
