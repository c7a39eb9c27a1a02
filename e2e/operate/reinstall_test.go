package operate

import (
	"github.com/kube-prepull/kube-prepull/e2e/lab"

	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/e2e/images"
)

// TestTheReleaseNamespaceDeleted deletes the namespace that kube-prepull runs in, with everything there and nothing else:
// the webhook configuration, the CRD and the PrepullImages are left. Workloads go on being created meanwhile. Installing
// once more brings all of it back.
func TestTheReleaseNamespaceDeleted(t *testing.T) {
	t.Parallel()
	p := product{lab.Own(t, "node-1")}
	p.Namespace(t, "shop", true)
	before := p.Push(t, "shop/before:v1", images.Image{Seed: 141})
	meanwhile := p.Push(t, "shop/meanwhile:v1", images.Image{Seed: 142})
	p.Deploy(t, "shop", lab.Deployment("before", before, 1))
	p.WaitState(t, before, "Ready")

	again := p.MayBeRefused()
	if err := p.Client().CoreV1().Namespaces().Delete(t.Context(), lab.System, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	made, slowest := p.deployUntilGone(t, "shop", meanwhile, lab.System)
	t.Logf("%d Deployments were created while the namespace went, the slowest in %s", made, slowest.Round(time.Millisecond))
	if slowest > 3*time.Second {
		t.Errorf("a Deployment took %s to be created while the namespace went", slowest)
	}
	watch := lab.StartStopwatch()
	p.Deploy(t, "shop", lab.Deployment("after", meanwhile, 1))
	watch.Within(t, time.Second, "a Deployment without the namespace")
	lab.Eventually(t, "the pods of all Deployments to run", func() error {
		pods, err := p.Client().CoreV1().Pods("shop").List(t.Context(), metav1.ListOptions{FieldSelector: "status.phase=Running"})
		if err == nil && len(pods.Items) != 2 {
			err = fmt.Errorf("%d run", len(pods.Items))
		}
		return err
	})

	if err := p.Upgrade(t.Context()); err != nil {
		t.Fatalf("installing once more: %v", err)
	}
	again()
	p.WaitState(t, meanwhile, "Ready")
	p.WaitState(t, before, "Ready")
	p.WaitOnNodes(t, before, "node-1")
	p.WaitOnNodes(t, meanwhile, "node-1")
	next := p.Push(t, "shop/next:v1", images.Image{Seed: 143})
	admitted := p.Admissions(t)
	p.Deploy(t, "shop", lab.Deployment("next", next, 1))
	p.WaitState(t, next, "Ready")
	if p.Admissions(t) == admitted {
		t.Error("nothing reaches the webhook: the API server does not trust it")
	}
}

// deployUntilGone creates Deployments of no replicas in a namespace, one after the other, until another namespace is
// gone. It returns how many there were, and how long the slowest took.
func (p product) deployUntilGone(t *testing.T, namespace, image, other string) (made int, slowest time.Duration) {
	t.Helper()
	lab.Eventually(t, "namespace "+other+" to be gone", func() error {
		watch := lab.StartStopwatch()
		p.Deploy(t, namespace, lab.Deployment(fmt.Sprint("meanwhile-", made), image, 0))
		made, slowest = made+1, max(slowest, watch.Elapsed())
		left, err := p.Client().CoreV1().Namespaces().Get(context.Background(), other, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("it is there (%v): %v", err, conditionsOf(left))
	})
	return made, slowest
}

// conditionsOf says what keeps a namespace from going.
func conditionsOf(namespace *corev1.Namespace) []string {
	var words []string
	for _, c := range namespace.Status.Conditions {
		if c.Status == corev1.ConditionTrue {
			words = append(words, c.Message)
		}
	}
	return words
}
