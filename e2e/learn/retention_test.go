package learn

import (
	"github.com/kube-prepull/kube-prepull/e2e/lab"

	"errors"
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/e2e/images"
)

// TestADeclaredImageOutlivesTheRetention has a pod with two images, a declared and a learned one, and deletes it. With a
// retention of a second the learned one goes; the declared one stays, whatever the resyncs after that see.
func TestADeclaredImageOutlivesTheRetention(t *testing.T) {
	t.Parallel()
	p := product{lab.Lease(t, "--set", "config.retention=1s", "--set", "config.resyncInterval=2s")}
	p.Namespace(t, "shop", true)
	declared := p.Push(t, "shop/declared:v1", images.Image{Seed: 131})
	learned := p.Push(t, "shop/learned:v1", images.Image{Seed: 132})
	p.Declare(t, "declared", declared)
	pod := lab.PodOn("node-1", "both", declared)
	pod.Namespace = "shop"
	pod.Spec.InitContainers = lab.PodOn("", "", learned).Spec.Containers
	pod.Spec.InitContainers[0].Name, pod.Spec.InitContainers[0].Args = "init", []string{"get", "https://$(KUBERNETES_SERVICE_HOST)"}
	lab.StartPod(t, p.Cluster, pod)
	p.WaitState(t, learned, "Ready")
	before := p.WaitState(t, declared, "Ready")
	p.WaitUsers(t, declared, "1")

	if err := p.Client().CoreV1().Pods("shop").Delete(t.Context(), "both", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	lab.Eventually(t, "the learned image to go", func() error {
		if p.PrepullImage(t, learned) != nil || p.Listed(t, learned) {
			return errors.New("it is known or listed")
		}
		return nil
	})
	p.WaitUsers(t, declared, "0")
	done := p.resyncs(t)
	lab.Eventually(t, "three more resyncs", func() error {
		if now := p.resyncs(t); now < done+3 {
			return fmt.Errorf("there were %d", now-done)
		}
		return nil
	})
	after := p.PrepullImage(t, declared)
	if after == nil || after.GetUID() != before.GetUID() || lab.Field(after, "status", "state") != "Ready" || !p.Listed(t, declared) {
		t.Errorf("the declared image is %v after the resyncs, want it as it was", after)
	}
}

// resyncs is how many the managers that run have completed.
func (p product) resyncs(t *testing.T) int {
	t.Helper()
	sum := 0.0
	for _, manager := range p.Managers(t) {
		sum += p.Metric(t, manager, `controller_runtime_reconcile_total{controller="resync",result="requeue_after"}`)
	}
	return int(sum)
}
