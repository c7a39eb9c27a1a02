package e2e

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-prepull/kube-prepull/e2e/images"
)

// TestTheFirstListComesInWaves brings the first image of all to two nodes of which one may pull at a time.
func TestTheFirstListComesInWaves(t *testing.T) {
	t.Parallel()
	p := ownProduct(t, "node-1", "node-2")
	p.configure(t, "--set", "config.maxConcurrentNodes=1")
	p.namespace(t, "shop", true)
	image := p.push(t, "shop/app:v1", images.Image{Size: 20 << 20, Seed: 331})
	p.registry.SetBandwidth(50e6)
	p.deploy(t, "shop", deployment("app", image, 0))
	most := 0
	eventually(t, 2*time.Minute, "the image to be on both nodes", func() error {
		pulling := 0
		for _, pod := range p.prepullPods(t) {
			if listsImage(&pod, image) && !podRunning(&pod) {
				pulling++
			}
		}
		most = max(most, pulling)
		if !p.onNode(t, image, "node-1") || !p.onNode(t, image, "node-2") {
			return fmt.Errorf("it is not")
		}
		return nil
	})
	if most != 1 {
		t.Errorf("%d nodes pulled at the same time, want 1", most)
	}
}

func listsImage(pod *corev1.Pod, image string) bool {
	for _, c := range pod.Spec.InitContainers {
		if c.Image == image {
			return true
		}
	}
	return false
}
