package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/e2e/images"
	"github.com/kube-prepull/kube-prepull/e2e/lab"
	"github.com/kube-prepull/kube-prepull/e2e/registry"
)

// TestUpgradePullsNothingAgain upgrades to another version of the chart, with another tag of the manager's image. The
// nodes do not notice.
func TestUpgradePullsNothingAgain(t *testing.T) {
	t.Parallel()
	p := ownProduct(t, "node-1") // no other test changes its list
	p.namespace(t, "upgrade", true)
	image := p.push(t, "upgrade/app:v1", images.Image{Seed: 81})
	p.deploy(t, "upgrade", deployment("app", image, 1))
	p.waitState(t, image, "Ready")
	var pods []string
	eventually(t, time.Minute, "the only prepull pod to be ready", func() error {
		if pods = podIdentities(p.prepullPods(t)); len(pods) != 1 || !podRunning(&p.prepullPods(t)[0]) {
			return fmt.Errorf("there are %v", pods)
		}
		return nil
	})
	generation := p.daemonSets(t)[0].Generation
	before := p.registry.Counts("upgrade/app")

	retag(t, p.registry, "kube-prepull:"+lab.Version, "next")
	if err := lab.Helm(t.Context(), p.Cluster, "upgrade", "kube-prepull", nextChart(t), "--namespace", system,
		"--reset-then-reuse-values", "--set", "image.tag=next", "--wait", "--timeout", "3m"); err != nil {
		t.Fatal(err)
	}
	p.waitLeader(t, p.registry.Addr()+"/kube-prepull:next")
	if diff := cmp.Diff(pods, podIdentities(p.prepullPods(t))); diff != "" {
		t.Errorf("the upgrade changed the prepull pods (-before +after):\n%s", diff)
	}
	if after := p.daemonSets(t)[0].Generation; after != generation {
		t.Errorf("the DaemonSet's generation went from %d to %d", generation, after)
	}
	next := p.push(t, "upgrade/next:v1", images.Image{Seed: 82})
	p.deploy(t, "upgrade", deployment("next", next, 1))
	p.waitState(t, next, "Ready")
	if after := p.registry.Counts("upgrade/app"); after.BlobGets != before.BlobGets {
		t.Errorf("the image was pulled again: %+v, before the upgrade %+v", after, before)
	}
}

// podIdentities are the names and UIDs of pods, with how often their containers were restarted.
func podIdentities(pods []corev1.Pod) []string {
	var identities []string
	for _, pod := range pods {
		identity := pod.Name + " " + string(pod.UID)
		for _, s := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
			identity += fmt.Sprintf(" %s:%d", s.Name, s.RestartCount)
		}
		identities = append(identities, identity)
	}
	return identities
}

// nextChart is the chart of this checkout as another version.
func nextChart(t *testing.T) string {
	t.Helper()
	chart := filepath.Join(t.TempDir(), "chart")
	if err := os.CopyFS(chart, os.DirFS(lab.Source("deploy/chart"))); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(chart, "Chart.yaml")
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	content = regexp.MustCompile(`(?m)^(version|appVersion): .*$`).ReplaceAll(content, []byte("$1: 99.0.0"))
	if err := os.WriteFile(file, content, 0o644); err != nil {
		t.Fatal(err)
	}
	return chart
}

// retag gives an image of a registry one more tag.
func retag(t *testing.T, r *registry.Registry, image, tag string) {
	t.Helper()
	from, err := name.ParseReference(r.Addr()+"/"+image, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	transport := remote.WithTransport(r.Transport())
	descriptor, err := remote.Get(from, transport)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Tag(from.Context().Tag(tag), descriptor, transport); err != nil {
		t.Fatal(err)
	}
}

// waitLeader waits until a manager of an image leads, has looked at what is there and has nothing left to write: a
// reconciliation that only holds a change back ends with another result.
func (p *product) waitLeader(t *testing.T, image string) {
	t.Helper()
	eventually(t, time.Minute, "a manager of "+image+" to lead", func() error {
		lease, err := p.Client().CoordinationV1().Leases(system).Get(t.Context(), "kube-prepull", metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, manager := range p.managers(t) {
			if !strings.HasPrefix(*lease.Spec.HolderIdentity, manager.Name+"_") || manager.Spec.Containers[0].Image != image {
				continue
			}
			for _, labels := range []string{`controller="prepull",result="success"`, `controller="resync",result="requeue_after"`} {
				if p.metric(t, manager, "controller_runtime_reconcile_total{"+labels+"}") == 0 {
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
	eventually(t, time.Minute, "managers on their way out to be gone: they still answer", func() error {
		pods, err := p.Client().CoreV1().Pods(system).List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=webhook"})
		if err == nil && len(pods.Items) > 0 {
			err = fmt.Errorf("there are %d", len(pods.Items))
		}
		return err
	})
	if err := p.checkRelease(t); err == nil || !strings.Contains(err.Error(), "webhook pods.kube-prepull.io: asking Service kube-prepull") {
		t.Errorf("helm test without managers: %v", err)
	}
	p.scaleManagers(t, 2)
	p.waitState(t, image, "Ready")
	if err := p.checkRelease(t); err != nil {
		t.Errorf("helm test: %v", err)
	}
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

// TestWhatIsDeletedUnderUsComesBack deletes a PrepullImage, a DaemonSet, the CA Secret and the CRD.
func TestWhatIsDeletedUnderUsComesBack(t *testing.T) {
	t.Parallel()
	p := ownProduct(t, "node-1")
	p.namespace(t, "shop", true)
	image := p.push(t, "shop/app:v1", images.Image{Seed: 111})
	p.deploy(t, "shop", deployment("app", image, 1))
	learned := p.waitState(t, image, "Ready")

	if _, err := p.Kubectl(t.Context(), "delete", "ppi", learned.GetName()); err != nil {
		t.Fatal(err)
	}
	if again := p.waitState(t, image, "Ready"); again.GetName() != learned.GetName() || again.GetUID() == learned.GetUID() {
		t.Errorf("what came back is %s (%s), want another %s", again.GetName(), again.GetUID(), learned.GetName())
	}

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

// TestUninstallLeavesOnlyWhatPeopleDeclared uninstalls the release and looks for what it made; workloads go on.
func TestUninstallLeavesOnlyWhatPeopleDeclared(t *testing.T) {
	t.Parallel()
	p := ownProduct(t, "node-1")
	p.namespace(t, "shop", true)
	image := p.push(t, "shop/app:v1", images.Image{Seed: 121})
	p.deploy(t, "shop", deployment("app", image, 1))
	p.waitState(t, image, "Ready")
	declared := p.push(t, "shop/declared:v1", images.Image{Seed: 122})
	p.declare(t, "declared", declared)
	p.waitState(t, declared, "Ready")
	pods, err := p.Client().CoreV1().Pods("shop").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p.mayBeRefused() // a manager may end after its roles
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
	if p.prepullImage(t, declared) == nil {
		t.Error("the declared image is gone")
	}
	if leases, err := p.Client().CoordinationV1().Leases(system).List(t.Context(), metav1.ListOptions{}); err != nil || len(leases.Items) > 0 {
		t.Errorf("%d Leases are left (%v)", len(leases.Items), err)
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
