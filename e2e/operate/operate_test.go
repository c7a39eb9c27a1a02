package operate

import (
	"github.com/kube-prepull/kube-prepull/e2e/lab"

	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/e2e/images"
)

// waitLeader waits until a manager of an image leads, has looked at what is there and has nothing left to write: a
// reconciliation that only holds a change back ends with another result.
func (p product) waitLeader(t *testing.T, image string) {
	t.Helper()
	lab.Eventually(t, "a manager of "+image+" to lead", func() error {
		lease, err := p.Client().CoordinationV1().Leases(lab.System).Get(t.Context(), "kube-prepull", metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, manager := range p.Managers(t) {
			if !strings.HasPrefix(*lease.Spec.HolderIdentity, manager.Name+"_") || manager.Spec.Containers[0].Image != image {
				continue
			}
			for _, labels := range []string{`controller="prepull",result="success"`, `controller="resync",result="requeue_after"`} {
				if p.Metric(t, manager, "controller_runtime_reconcile_total{"+labels+"}") == 0 {
					return fmt.Errorf("it has no reconciliation of %s", labels)
				}
			}
			return nil
		}
		return fmt.Errorf("the leader is %s", *lease.Spec.HolderIdentity)
	})
}

// TestTheWebhookGone creates workloads while no manager runs, as if kube-prepull were not there; they are learned later.
// helm test notices.
func TestTheWebhookGone(t *testing.T) {
	t.Parallel()
	p := product{lab.Lease(t)}
	p.Namespace(t, "gone", true)
	image := p.Push(t, "gone/app:v1", images.Image{Seed: 91})
	p.ScaleManagers(t, 0)
	t.Cleanup(func() { p.ScaleManagers(t, 2) })
	watch := lab.StartStopwatch()
	p.Deploy(t, "gone", lab.Deployment("app", image, 1))
	lab.Eventually(t, "the pod to run", func() error {
		pods, err := p.Client().CoreV1().Pods("gone").List(t.Context(), metav1.ListOptions{})
		if err != nil || len(pods.Items) != 1 || !lab.PodRunning(&pods.Items[0]) {
			return fmt.Errorf("it does not (%v)", err)
		}
		return nil
	})
	watch.Within(t, 20*time.Second, "without the webhook a Deployment's pod")
	lab.Eventually(t, "managers on their way out to be gone: they still answer", func() error {
		pods, err := p.Client().CoreV1().Pods(lab.System).List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=webhook"})
		if err == nil && len(pods.Items) > 0 {
			err = fmt.Errorf("there are %d", len(pods.Items))
		}
		return err
	})
	if err := p.CheckRelease(t); err == nil || !strings.Contains(err.Error(), "webhook pods.kube-prepull.io: asking Service kube-prepull") {
		t.Errorf("helm test without managers: %v", err)
	}
	p.ScaleManagers(t, 2)
	p.WaitState(t, image, "Ready")
	if err := p.CheckRelease(t); err != nil {
		t.Errorf("helm test: %v", err)
	}
}

// TestTheLeaderKilledInTheMiddleOfARoll kills the leading manager while nodes pull; the next one carries on.
func TestTheLeaderKilledInTheMiddleOfARoll(t *testing.T) {
	t.Parallel()
	p := product{lab.Lease(t)}
	p.Namespace(t, "leader", true)
	p.Registry.SetBandwidth(50e6)
	t.Cleanup(func() { p.Registry.SetBandwidth(0) })
	first := p.Push(t, "leader/first:v1", images.Image{Size: 40 << 20, Seed: 101})
	p.Deploy(t, "leader", lab.Deployment("first", first, 0))
	lab.Eventually(t, "the DaemonSet to list the image", func() error {
		if !p.Listed(t, first) {
			return fmt.Errorf("it does not")
		}
		return nil
	})
	list := p.DaemonSets(t)[0].Labels["kube-prepull.io/list"]
	lease, err := p.Client().CoordinationV1().Leases(lab.System).Get(t.Context(), "kube-prepull", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	leader, _, _ := strings.Cut(*lease.Spec.HolderIdentity, "_")
	now := int64(0)
	if err := p.Client().CoreV1().Pods(lab.System).Delete(t.Context(), leader, metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
		t.Fatal(err)
	}
	p.WaitState(t, first, "Ready")
	if after := p.DaemonSets(t)[0].Labels["kube-prepull.io/list"]; after != list {
		t.Errorf("the list went from %s to %s for nothing", list, after)
	}
	second := p.Push(t, "leader/second:v1", images.Image{Seed: 102})
	p.Deploy(t, "leader", lab.Deployment("second", second, 0))
	p.WaitState(t, second, "Ready")
	p.ScaleManagers(t, 2)
}

// TestWhatIsDeletedUnderUsComesBack deletes a PrepullImage, a DaemonSet, the CA Secret and the CRD.
func TestWhatIsDeletedUnderUsComesBack(t *testing.T) {
	t.Parallel()
	p := product{lab.Lease(t)}
	p.Namespace(t, "shop", true)
	image := p.Push(t, "shop/app:v1", images.Image{Seed: 111})
	p.Deploy(t, "shop", lab.Deployment("app", image, 1))
	learned := p.WaitState(t, image, "Ready")

	if _, err := p.Kubectl(t.Context(), "delete", "ppi", learned.GetName()); err != nil {
		t.Fatal(err)
	}
	if again := p.WaitState(t, image, "Ready"); again.GetName() != learned.GetName() || again.GetUID() == learned.GetUID() {
		t.Errorf("what came back is %s (%s), want another %s", again.GetName(), again.GetUID(), learned.GetName())
	}

	ds := p.DaemonSets(t)[0]
	if err := p.Client().AppsV1().DaemonSets(lab.System).Delete(t.Context(), ds.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	lab.Eventually(t, "the DaemonSet to come back", func() error {
		again, err := p.Client().AppsV1().DaemonSets(lab.System).Get(t.Context(), ds.Name, metav1.GetOptions{})
		if err == nil && again.UID == ds.UID {
			err = fmt.Errorf("it has not gone yet")
		}
		return err
	})

	if err := p.Client().CoreV1().Secrets(lab.System).Delete(t.Context(), "kube-prepull-ca", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	lab.Eventually(t, "the Secret to come back", func() error {
		_, err := p.Client().CoreV1().Secrets(lab.System).Get(t.Context(), "kube-prepull-ca", metav1.GetOptions{})
		return err
	})

	if _, err := p.Kubectl(t.Context(), "delete", "crd", "prepullimages.kube-prepull.io"); err != nil {
		t.Fatal(err)
	}
	if err := p.Upgrade(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.WaitState(t, image, "Ready")
	next := p.Push(t, "shop/next:v1", images.Image{Seed: 112})
	p.Deploy(t, "shop", lab.Deployment("next", next, 1))
	p.WaitState(t, next, "Ready")
	for _, manager := range p.Managers(t) {
		if restarts := manager.Status.ContainerStatuses[0].RestartCount; restarts > 0 {
			t.Errorf("manager %s was restarted %d times", manager.Name, restarts)
		}
	}
}
