package learn

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/e2e/images"
	"github.com/kube-prepull/kube-prepull/e2e/lab"
	"github.com/kube-prepull/kube-prepull/e2e/registry"
)

// TestProvenImagesAreHeld brings five images, which the next change of the list holds; then a node joins that cannot pull one
// of those any more.
func TestProvenImagesAreHeld(t *testing.T) {
	t.Parallel()
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
	next := p.Push(t, "shop/next:v1", images.Image{Size: 1 << 20, Seed: 710})
	p.Registry.ResetCounts()
	p.Deploy(t, "shop", lab.Deployment("next", next, 0))
	p.WaitState(t, next, "Ready")
	if got := p.heldImages(t); !slices.Equal(got, held) {
		t.Errorf("held are %q, want %q", got, held)
	}
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
		for _, image := range append(slices.Delete(slices.Clone(held), 1, 2), next) {
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
}

// heldImages are the images that the only prepull DaemonSet holds, sorted.
func (p product) heldImages(t *testing.T) []string {
	t.Helper()
	var held []string
	for _, ds := range p.DaemonSets(t) {
		for _, v := range ds.Spec.Template.Spec.Volumes {
			if v.Image != nil {
				held = append(held, v.Image.Reference)
			}
		}
	}
	slices.Sort(held)
	return held
}

// TestHeldImagesSurviveGarbageCollection has a node whose kubelet takes its disk for full, and removes every image that it may:
// it looks every five minutes (ImageGCPeriod in pkg/kubelet/kubelet.go).
func TestHeldImagesSurviveGarbageCollection(t *testing.T) {
	t.Parallel()
	p := product{lab.Lease(t)}
	node := clusterNode("node-3")
	node.Kubelet = map[string]any{"imageGCHighThresholdPercent": 1, "imageGCLowThresholdPercent": 0, "imageMinimumGCAge": "1s"}
	if err := p.AddNode(t.Context(), node); err != nil {
		t.Fatal(err)
	}
	p.Namespace(t, "shop", true)
	var held []string
	for i := range 3 {
		image := p.Push(t, fmt.Sprintf("shop/kept-%d:v1", i), images.Image{Size: 1 << 20, Seed: uint64(720 + i)})
		p.Deploy(t, "shop", lab.Deployment(fmt.Sprint("kept-", i), image, 0))
		held = append(held, image)
	}
	for _, image := range held {
		p.WaitState(t, image, "Ready")
	}
	next := p.Push(t, "shop/brought:v1", images.Image{Size: 1 << 20, Seed: 730})
	p.Deploy(t, "shop", lab.Deployment("brought", next, 0))
	p.WaitState(t, next, "Ready")
	if got := p.heldImages(t); !slices.Equal(got, held) {
		t.Fatalf("held are %q, want %q", got, held)
	}
	unheld := p.Push(t, "elsewhere/once:v1", images.Image{Size: 1 << 20, Seed: 731})
	pod := lab.PodOn("node-3", "once", unheld)
	lab.StartPod(t, p.Cluster, pod)
	lab.WaitPod(t, p.Cluster, "once", lab.PodRunning)
	lists := func(image string) bool {
		return slices.ContainsFunc(lab.GetNode(t, p.Cluster, "node-3").Status.Images, func(i corev1.ContainerImage) bool { return slices.Contains(i.Names, image) })
	}
	lab.Eventually(t, "node-3 to list the image of the pod", func() error {
		if !lists(unheld) {
			return errors.New("it does not")
		}
		return nil
	})
	if err := p.Client().CoreV1().Pods("default").Delete(t.Context(), "once", metav1.DeleteOptions{GracePeriodSeconds: new(int64)}); err != nil {
		t.Fatal(err)
	}
	p.Registry.ResetCounts()
	lab.EventuallyWithin(t, 8*time.Minute, "the kubelet of node-3 to collect the image that nobody holds", func() error {
		if lists(unheld) {
			return errors.New("it is there")
		}
		return nil
	})
	for _, image := range append(slices.Clone(held), next) {
		if !lists(image) {
			t.Errorf("%s is gone, too", image)
		}
	}
	if got := p.Registry.Counts("shop/*"); got.BlobGets > 0 {
		t.Errorf("images were pulled again: %+v", got)
	}
}
