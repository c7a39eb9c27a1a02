package place

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/e2e/images"
	"github.com/kube-prepull/kube-prepull/e2e/lab"
)

// TestANodeWithoutRoomHoldsUpNobody has one node at a time take a new list, of two, and one of them without a free millicore.
func TestANodeWithoutRoomHoldsUpNobody(t *testing.T) {
	t.Parallel()
	p := product{lab.Lease(t, "--set", "config.maxConcurrentNodes=1")}
	p.Namespace(t, "shop", true)
	first := p.Push(t, "shop/first:v1", images.Image{Seed: 341})
	p.Deploy(t, "shop", lab.Deployment("first", first, 0))
	p.WaitState(t, first, "Ready")
	p.WaitHeld(t, first)
	p.fillProcessors(t, "node-2")

	// Which node comes first is left to chance, so there are several lists.
	for i := range 3 {
		name := fmt.Sprint("next-", i)
		image := p.Push(t, "shop/"+name+":v1", images.Image{Seed: uint64(342 + i)})
		p.Deploy(t, "shop", lab.Deployment(name, image, 0))
		p.WaitOnNodes(t, image, "node-1")
		if p.OnNode(t, image, "node-2") {
			t.Fatal("node-2 has room")
		}
	}
	k := lab.PluginFor(t, p.Cluster)
	lab.Eventually(t, "the plugin to say what node-2 lacks", func() error {
		for _, args := range [][]string{{"nodes"}, {"explain", "node/node-2"}} {
			if out, _, _ := k.Run(t, args...); !strings.Contains(out, "Insufficient cpu") {
				return errors.New(out)
			}
		}
		return nil
	})
	if !p.OnNode(t, first, "node-2") {
		t.Error("node-2 has lost the list that it had")
	}
}

// fillProcessors starts a pod on a node that asks for all that is free there.
func (p product) fillProcessors(t *testing.T, name string) {
	t.Helper()
	free := lab.GetNode(t, p.Cluster, name).Status.Allocatable[corev1.ResourceCPU]
	var pods *corev1.PodList
	lab.Eventually(t, "no pod of "+name+" to be about to leave", func() (err error) {
		pods, err = p.Client().CoreV1().Pods("").List(t.Context(), metav1.ListOptions{FieldSelector: "spec.nodeName=" + name})
		if err == nil && slices.ContainsFunc(pods.Items, func(pod corev1.Pod) bool { return pod.DeletionTimestamp != nil }) {
			err = errors.New("some are")
		}
		return err
	})
	for _, pod := range pods.Items {
		for _, c := range pod.Spec.Containers {
			free.Sub(c.Resources.Requests[corev1.ResourceCPU])
		}
	}
	image := p.Push(t, "place/filler:v1", images.Image{Seed: 340})
	pod := lab.PodOn(name, "filler", image)
	pod.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: *resource.NewMilliQuantity(free.MilliValue(), resource.DecimalSI)}
	lab.StartPod(t, p.Cluster, pod)
}
