package e2e

import (
	"errors"
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/e2e/images"
)

// TestADeclaredImageOutlivesTheRetention has a pod with two images, a declared and a learned one, and deletes it. With a
// retention of a second the learned one goes; the declared one stays, whatever the resyncs after that see.
func TestADeclaredImageOutlivesTheRetention(t *testing.T) {
	t.Parallel()
	p := ownProduct(t, "node-1")
	p.configure(t, "--set", "config.retention=1s", "--set", "config.resyncInterval=2s")
	p.namespace(t, "shop", true)
	declared := p.push(t, "shop/declared:v1", images.Image{Seed: 131})
	learned := p.push(t, "shop/learned:v1", images.Image{Seed: 132})
	p.declare(t, "declared", declared)
	pod := podOn("node-1", "both", declared)
	pod.Namespace = "shop"
	pod.Spec.InitContainers = podOn("", "", learned).Spec.Containers
	pod.Spec.InitContainers[0].Name, pod.Spec.InitContainers[0].Args = "init", []string{"get", "https://$(KUBERNETES_SERVICE_HOST)"}
	startPod(t, p.Cluster, pod)
	p.waitState(t, learned, "Ready")
	before := p.waitState(t, declared, "Ready")
	p.waitUsers(t, declared, "1")

	if err := p.Client().CoreV1().Pods("shop").Delete(t.Context(), "both", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, "the learned image to go", func() error {
		if p.prepullImage(t, learned) != nil || p.listed(t, learned) {
			return errors.New("it is known or listed")
		}
		return nil
	})
	p.waitUsers(t, declared, "0")
	done := p.resyncs(t)
	eventually(t, time.Minute, "three more resyncs", func() error {
		if now := p.resyncs(t); now < done+3 {
			return fmt.Errorf("there were %d", now-done)
		}
		return nil
	})
	after := p.prepullImage(t, declared)
	if after == nil || after.GetUID() != before.GetUID() || field(after, "status", "state") != "Ready" || !p.listed(t, declared) {
		t.Errorf("the declared image is %v after the resyncs, want it as it was", after)
	}
}

// waitUsers waits until an image has so many users.
func (p *product) waitUsers(t *testing.T, image, count string) {
	t.Helper()
	eventually(t, time.Minute, image+" to have "+count+" users", func() error {
		object := p.prepullImage(t, image)
		if object == nil {
			return errors.New("it is not known")
		}
		got := field(object, "status", "userCount")
		if got == "" {
			got = "0"
		}
		if got != count {
			return fmt.Errorf("it has %s", got)
		}
		return nil
	})
}

// resyncs is how many the managers that run have completed.
func (p *product) resyncs(t *testing.T) int {
	t.Helper()
	sum := 0.0
	for _, manager := range p.managers(t) {
		sum += p.metric(t, manager, `controller_runtime_reconcile_total{controller="resync",result="requeue_after"}`)
	}
	return int(sum)
}
