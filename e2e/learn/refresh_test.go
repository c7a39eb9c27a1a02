package learn

import (
	"github.com/kube-prepull/kube-prepull/e2e/lab"

	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-prepull/kube-prepull/e2e/images"
)

// TestATagThatMoves is pulled again by every node, once, and a pod that always pulls then finds it there.
func TestATagThatMoves(t *testing.T) {
	t.Parallel()
	p := product{lab.Lease(t, "--set", "config.refreshInterval=2s")}
	p.Namespace(t, "shop", true)
	image := p.Push(t, "shop/app:latest", images.Image{Size: 1 << 20, Seed: 501})
	d := lab.Deployment("app", image, 0)
	d.Spec.Template.Spec.Containers[0].ImagePullPolicy = corev1.PullAlways
	p.Deploy(t, "shop", d)
	object := p.WaitState(t, image, "Ready")
	lab.Eventually(t, "the digest to be known", func() error {
		if object = p.PrepullImage(t, image); lab.Field(object, "status", "digest") == "" {
			return fmt.Errorf("it is not")
		}
		return nil
	})
	first := lab.Field(object, "status", "digest")
	if lab.Field(object, "status", "alwaysPull") != "true" {
		t.Error("it is not known that the image is always pulled")
	}
	calm := p.calm(t)

	p.Push(t, "shop/app:latest", images.Image{Size: 1 << 20, Seed: 502})
	lab.Eventually(t, "the nodes to be given the new digest", func() error {
		digest := lab.Field(p.PrepullImage(t, image), "status", "digest")
		if now := p.DaemonSets(t)[0]; digest == first || now.Generation == calm {
			return fmt.Errorf("the digest is %s, the generation %d", digest, now.Generation)
		}
		return nil
	})
	if rolled := p.calm(t); rolled != calm+1 {
		t.Errorf("the DaemonSet went from generation %d to %d, want one more", calm, rolled)
	}
	p.OneForEachNode(t, "node-1", "node-2")

	before := p.Registry.Counts("shop/app")
	pod := lab.PodOn("node-2", "after", image)
	pod.Namespace, pod.Spec.Containers[0].ImagePullPolicy = "shop", corev1.PullAlways
	lab.StartPod(t, p.Cluster, pod)
	p.PulledEvent(t, "shop", "after")
	if after := p.Registry.Counts("shop/app"); after.BlobGets != before.BlobGets {
		t.Errorf("the pod pulled %d blobs that the node should have", after.BlobGets-before.BlobGets)
	}

	p.Registry.SetDown(true)
	t.Cleanup(func() { p.Registry.SetDown(false) })
	generation := p.DaemonSets(t)[0].Generation
	time.Sleep(6 * time.Second) // three refreshes without an answer
	if now := p.DaemonSets(t)[0].Generation; now != generation {
		t.Errorf("without the registry the DaemonSet went from generation %d to %d", generation, now)
	}
}

// calm waits until the DaemonSet has not changed for a while, and returns its generation.
func (p product) calm(t *testing.T) int64 {
	t.Helper()
	generation, since := int64(0), time.Now()
	lab.Eventually(t, "the DaemonSet to stay as it is", func() error {
		if now := p.DaemonSets(t)[0].Generation; now != generation {
			generation, since = now, time.Now()
		}
		if time.Since(since) < 12*time.Second {
			return fmt.Errorf("generation %d is new", generation)
		}
		return nil
	})
	return generation
}
