package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/e2e/images"
	"github.com/kube-prepull/kube-prepull/e2e/lab"
)

// TestUpgradePullsNothingAgain upgrades the manager to another tag and version of the chart.
func TestUpgradePullsNothingAgain(t *testing.T) {
	p := sharedProduct(t)
	p.namespace(t, "upgrade", true)
	image := p.push(t, "upgrade/app:v1", images.Image{Seed: 81})
	p.deploy(t, "upgrade", deployment("app", image, 1))
	p.waitState(t, image, "Ready")
	pods := podNames(p.prepullPods(t))
	before := p.registry.Counts("upgrade/app")
	if err := p.upgrade(t.Context(), "--set", "podAnnotations.upgraded=yes", "--set", "config.maxImagesPerNode=49"); err != nil {
		t.Fatal(err)
	}
	// A new image proves that the new manager is at work.
	next := p.push(t, "upgrade/next:v1", images.Image{Seed: 82})
	if after := podNames(p.prepullPods(t)); after != pods {
		t.Errorf("the prepull pods are %s, want still %s", after, pods)
	}
	p.deploy(t, "upgrade", deployment("next", next, 1))
	p.waitState(t, next, "Ready")
	if after := p.registry.Counts("upgrade/app"); after.BlobGets != before.BlobGets {
		t.Errorf("the image was pulled again: %+v, before the upgrade %+v", after, before)
	}
}

func podNames(pods []corev1.Pod) string {
	var names []string
	for _, pod := range pods {
		names = append(names, pod.Name)
	}
	return strings.Join(names, " ")
}

// TestTheWebhookGone creates workloads while no manager runs, as if kube-prepull were not there; they are learned later.
func TestTheWebhookGone(t *testing.T) {
	p := sharedProduct(t)
	p.namespace(t, "gone", true)
	image := p.push(t, "gone/app:v1", images.Image{Seed: 91})
	p.scaleManagers(t, 0)
	t.Cleanup(func() { p.scaleManagers(t, 2) })
	start := time.Now()
	p.deploy(t, "gone", deployment("app", image, 1))
	eventually(t, time.Minute, "the pod to run", func() error {
		pods, err := p.Client().CoreV1().Pods("gone").List(t.Context(), metav1.ListOptions{})
		if err != nil || len(pods.Items) != 1 || !podRunning(&pods.Items[0]) {
			return fmt.Errorf("it does not (%v)", err)
		}
		return nil
	})
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("without the webhook the Deployment's pod took %s", took)
	}
	p.scaleManagers(t, 2)
	p.waitState(t, image, "Ready")
}

// TestTheLeaderKilledInTheMiddleOfARoll kills the leading manager while nodes pull; the next one carries on.
func TestTheLeaderKilledInTheMiddleOfARoll(t *testing.T) {
	p := sharedProduct(t)
	p.namespace(t, "leader", true)
	p.registry.SetBandwidth(50e6)
	t.Cleanup(func() { p.registry.SetBandwidth(0) })
	first := p.push(t, "leader/first:v1", images.Image{Size: 40 << 20, Seed: 101})
	p.deploy(t, "leader", deployment("first", first, 0))
	eventually(t, 30*time.Second, "the DaemonSet to list the image", func() error {
		if !p.listed(t, first) {
			return fmt.Errorf("it does not")
		}
		return nil
	})
	generation := p.daemonSets(t)[0].Generation
	lease, err := p.Client().CoordinationV1().Leases(system).Get(t.Context(), "kube-prepull", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	leader, _, _ := strings.Cut(*lease.Spec.HolderIdentity, "_")
	now := int64(0)
	if err := p.Client().CoreV1().Pods(system).Delete(t.Context(), leader, metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
		t.Fatal(err)
	}
	p.waitState(t, first, "Ready")
	if after := p.daemonSets(t)[0].Generation; after != generation {
		t.Errorf("the DaemonSet's generation went from %d to %d: it was rewritten for nothing", generation, after)
	}
	second := p.push(t, "leader/second:v1", images.Image{Seed: 102})
	p.deploy(t, "leader", deployment("second", second, 0))
	p.waitState(t, second, "Ready")
	p.scaleManagers(t, 2)
}

// TestWhatIsDeletedUnderUsComesBack deletes the CA Secret, a DaemonSet and the CRD.
func TestWhatIsDeletedUnderUsComesBack(t *testing.T) {
	t.Parallel()
	p := ownProduct(t, "node-1")
	p.namespace(t, "shop", true)
	image := p.push(t, "shop/app:v1", images.Image{Seed: 111})
	p.deploy(t, "shop", deployment("app", image, 1))
	p.waitState(t, image, "Ready")

	ds := p.daemonSets(t)[0]
	if err := p.Client().AppsV1().DaemonSets(system).Delete(t.Context(), ds.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, "the DaemonSet to come back", func() error {
		again, err := p.Client().AppsV1().DaemonSets(system).Get(t.Context(), ds.Name, metav1.GetOptions{})
		if err == nil && again.UID == ds.UID {
			err = fmt.Errorf("it has not gone yet")
		}
		return err
	})

	if err := p.Client().CoreV1().Secrets(system).Delete(t.Context(), "kube-prepull-ca", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, "the Secret to come back", func() error {
		_, err := p.Client().CoreV1().Secrets(system).Get(t.Context(), "kube-prepull-ca", metav1.GetOptions{})
		return err
	})

	if _, err := p.Kubectl(t.Context(), "delete", "crd", "prepullimages.kube-prepull.io"); err != nil {
		t.Fatal(err)
	}
	if err := p.upgrade(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.waitState(t, image, "Ready")
	next := p.push(t, "shop/next:v1", images.Image{Seed: 112})
	p.deploy(t, "shop", deployment("next", next, 1))
	p.waitState(t, next, "Ready")
	for _, manager := range p.managers(t) {
		if restarts := manager.Status.ContainerStatuses[0].RestartCount; restarts > 0 {
			t.Errorf("manager %s was restarted %d times", manager.Name, restarts)
		}
	}
}

// TestUninstallLeavesNothing uninstalls the release and looks for what it made; workloads go on.
func TestUninstallLeavesNothing(t *testing.T) {
	t.Parallel()
	p := ownProduct(t, "node-1")
	p.namespace(t, "shop", true)
	image := p.push(t, "shop/app:v1", images.Image{Seed: 121})
	p.deploy(t, "shop", deployment("app", image, 1))
	p.waitState(t, image, "Ready")
	pods, err := p.Client().CoreV1().Pods("shop").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := lab.Uninstall(t.Context(), p.Cluster); err != nil {
		t.Fatal(err)
	}
	configurations, err := p.Client().AdmissionregistrationV1().MutatingWebhookConfigurations().List(t.Context(), metav1.ListOptions{})
	if err != nil || len(configurations.Items) > 0 {
		t.Errorf("there are %d webhook configurations (%v)", len(configurations.Items), err)
	}
	if left := p.daemonSets(t); len(left) > 0 {
		t.Errorf("there are %d DaemonSets", len(left))
	}
	eventually(t, 30*time.Second, "the prepull pods to go", func() error {
		if left := p.prepullPods(t); len(left) > 0 {
			return fmt.Errorf("there are %d", len(left))
		}
		return nil
	})
	if p.prepullImage(t, image) != nil {
		t.Error("the learned image is left")
	}
	for _, kind := range []string{"clusterroles", "clusterrolebindings", "priorityclasses"} {
		output, err := p.Kubectl(t.Context(), "get", kind, "-o", "name")
		if err != nil || strings.Contains(output, "kube-prepull") && !strings.Contains(output, "kube-prepull-test") {
			t.Errorf("%s are left (%v): %s", kind, err, output)
		}
	}
	secrets, err := p.Client().CoreV1().Secrets(system).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(secrets.Items) > 0 {
		t.Errorf("%d Secrets are left (%v)", len(secrets.Items), err)
	}
	after, err := p.Client().CoreV1().Pods("shop").Get(t.Context(), pods.Items[0].Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || err != nil || after.UID != pods.Items[0].UID || !podRunning(after) {
		t.Errorf("the workload's pod was touched: %v", err)
	}
}
