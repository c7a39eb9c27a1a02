package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/e2e/images"
	"github.com/kube-prepull/kube-prepull/e2e/registry"
)

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
