package gate

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/e2e/cluster"
	"github.com/kube-prepull/kube-prepull/e2e/images"
	"github.com/kube-prepull/kube-prepull/e2e/lab"
	"github.com/kube-prepull/kube-prepull/e2e/registry"
)

const (
	gateKey       = "startup-taint.cluster-autoscaler.kubernetes.io/images"
	gateDeadline  = 45 * time.Second
	nodeCondition = "kube-prepull.io/ImagesReady"
)

// gated is a node whose kubelet registers with the taint of the gate.
func gated(name string, more ...corev1.Taint) cluster.Node {
	return cluster.Node{Name: name, Taints: append(more, corev1.Taint{Key: gateKey, Effect: corev1.TaintEffectNoSchedule})}
}

// TestNewNodesAreWarmBeforePodsLandOnThem has a cluster in which every node registers with the taint, from the first one.
func TestNewNodesAreWarmBeforePodsLandOnThem(t *testing.T) {
	t.Parallel()
	lab.RequireNodes(t)
	p := gatedProduct(t, gated("node-1"))
	p.waitCondition(t, "node-1", corev1.ConditionTrue, "NothingToPull")
	p.waitReleased(t, "node-1")

	p.Namespace(t, "shop", true)
	web := p.Push(t, "shop/web:v1", images.Image{Seed: 701, Size: 8 << 20, Layers: 2})
	api := p.Push(t, "shop/api:v1", images.Image{Seed: 702, Size: 8 << 20, Layers: 2})
	broken := p.Push(t, "shop/broken:v1", images.Image{Seed: 703})
	p.Registry.SetFault("shop/broken", registry.Refuse(http.StatusNotFound))
	turned := p.watchCondition(t, "node-1")
	for name, image := range map[string]string{"web": web, "api": api, "broken": broken} {
		p.Deploy(t, "shop", lab.Deployment(name, image, 0))
	}
	p.WaitState(t, web, "Ready")
	p.WaitState(t, api, "Ready")
	p.WaitState(t, broken, "PullFailed")
	p.waitMessage(t, "node-1", "ImagesPresent", "2 of 2 images")
	if got := turned(); slices.ContainsFunc(got, func(s corev1.ConditionStatus) bool { return s != corev1.ConditionTrue }) {
		t.Errorf("a warm node that was given new images said %v", got)
	}

	t.Run("a new node is held until its images are there, and no longer", func(t *testing.T) { p.warmsUp(t, web, api) })
	t.Run("no manager runs for a while", func(t *testing.T) {
		p.Registry.SetBandwidth(10e6)
		p.join(t, gated("node-3"))
		lab.Eventually(t, "the node to pull", func() error {
			if status, reason, _ := p.nodeCondition(t, "node-3"); status != "False" || reason != "Pulling" {
				return fmt.Errorf("it is %s, %s", status, reason)
			}
			return nil
		})
		// Somebody else changes the taints meanwhile.
		if _, err := p.Kubectl(t.Context(), "taint", "node", "node-3", "readiness.k8s.io/others=:NoSchedule"); err != nil {
			t.Fatal(err)
		}
		p.KillManagers(t)
		if !p.held(t, "node-3") {
			t.Error("the node was untainted before its images were there")
		}
		p.Registry.SetBandwidth(0)
		p.ScaleManagers(t, 2)
		p.waitReleased(t, "node-3")
		p.waitCondition(t, "node-3", corev1.ConditionTrue, "ImagesPresent")
		if _, err := p.Kubectl(t.Context(), "taint", "node", "node-3", "readiness.k8s.io/others-"); err != nil {
			t.Errorf("the taint of somebody else is gone: %v", err)
		}
		p.removeNode(t, "node-3")
	})
	t.Run("what came while no manager ran is waited for", func(t *testing.T) {
		p.StopManagers(t)
		late := p.Push(t, "shop/late:v1", images.Image{Seed: 704, Size: 8 << 20})
		p.Deploy(t, "shop", lab.Deployment("late", late, 0))
		p.join(t, gated("node-7"))
		// No manager is to start there: the node goes again.
		if _, err := p.Kubectl(t.Context(), "cordon", "node-7"); err != nil {
			t.Fatal(err)
		}
		p.ScaleManagers(t, 2)
		t.Logf("untainted %s after its creation", p.waitReleased(t, "node-7"))
		// The kubelet knows: what the API server has of it lags.
		pod := lab.PodOn("node-7", "needs-late", late)
		pod.Namespace = "shop"
		lab.StartPod(t, p.Cluster, pod)
		if message := p.PulledEvent(t, "shop", pod.Name); !strings.Contains(message, "already present") {
			t.Errorf("the node was untainted without it: %s", message)
		}
		now := metav1.DeleteOptions{GracePeriodSeconds: new(int64)}
		if err := p.Client().CoreV1().Pods("shop").Delete(t.Context(), pod.Name, now); err != nil {
			t.Error(err)
		}
		p.removeNode(t, "node-7")
	})
	t.Run("a node that has nothing to wait for is untainted at once", func(t *testing.T) {
		watch := lab.StartStopwatch()
		p.join(t, gated("own-1", corev1.Taint{Key: "owner", Value: "data", Effect: corev1.TaintEffectNoSchedule}))
		took := p.waitReleased(t, "own-1")
		t.Logf("untainted %s after its creation", took)
		if took-watch.Stalled() > 5*time.Second {
			t.Errorf("it was held for %s", took)
		}
		p.removeNode(t, "own-1")
	})
	t.Run("an image that fails on a node does not hold it", func(t *testing.T) {
		p.Registry.SetFault("shop/api", registry.Refuse(http.StatusForbidden))
		defer p.Registry.LiftFault("shop/api")
		watch := lab.StartStopwatch()
		p.join(t, gated("node-4"))
		took := p.waitReleased(t, "node-4")
		t.Logf("untainted %s after its creation", took)
		p.waitCondition(t, "node-4", corev1.ConditionTrue, "SomeFailed")
		p.waitNodeEvent(t, "node-4", "ImagesNotReady", api)
		if took-watch.Stalled() > gateDeadline {
			t.Errorf("it was held for %s", took)
		}
		p.removeNode(t, "node-4")
	})
	t.Run("the first node of a class waits for a registry that asks for rest", func(t *testing.T) { p.firstIsLimited(t) })
	t.Run("the first node of a class whose image is not found is let go, and that is told", func(t *testing.T) { p.firstFails(t) })
	t.Run("a node that is deleted is held again when it comes back", func(t *testing.T) {
		p.join(t, gated("node-5"))
		p.waitCondition(t, "node-5", corev1.ConditionTrue, "ImagesPresent")
		p.Registry.SetFault("shop/web", registry.Hang())
		p.removeNode(t, "node-5")
		p.join(t, gated("node-5"))
		p.waitCondition(t, "node-5", corev1.ConditionFalse, "Pulling")
		p.removeNode(t, "node-5")
		p.join(t, gated("node-5"))
		p.waitCondition(t, "node-5", corev1.ConditionFalse, "Pulling")
		if !p.held(t, "node-5") {
			t.Error("it was untainted")
		}
	})
	t.Run("at the deadline it is untainted, and that is told", func(t *testing.T) {
		before, watch := p.releases(t, "deadline"), lab.StartStopwatch()
		took := p.waitReleased(t, "node-5")
		if took < gateDeadline || took-watch.Stalled() > gateDeadline+3*time.Second {
			t.Errorf("it was held for %s, want %s", took, gateDeadline)
		}
		p.waitNodeEvent(t, "node-5", "ImagesNotReadyInTime", web)
		if got := p.releases(t, "deadline") - before; got != 1 {
			t.Errorf("%v releases at the deadline are counted, want 1", got)
		}
		p.Registry.LiftFault("shop/web")
		p.removeNode(t, "node-5")
	})
	t.Run("many nodes join at once", func(t *testing.T) { p.manyJoin(t, 60) })
	t.Run("nothing is written while nothing changes", func(t *testing.T) {
		before := p.nodeWrites(t, "")
		time.Sleep(10 * time.Second)
		if after := p.nodeWrites(t, ""); after != before {
			t.Errorf("nodes were written %d times", after-before)
		}
	})
	t.Run("on the host's network a node is warm before it has a network of pods", func(t *testing.T) { p.warmsUpEarly(t) })
	t.Run("uninstalling untaints and takes the condition away", func(t *testing.T) {
		p.StopManagers(t)
		p.join(t, gated("node-6"))
		if err := lab.Uninstall(t.Context(), p.Cluster); err != nil {
			t.Fatal(err)
		}
		for _, node := range p.nodes(t) {
			if status, _, _ := conditionOfNode(&node); status != "" || hasGateTaint(&node) {
				t.Errorf("node %s: condition %q, held %t", node.Name, status, hasGateTaint(&node))
			}
		}
	})
}

// warmsUp watches a node from its creation on, with a pod that waits for it.
func (p product) warmsUp(t *testing.T, hot ...string) {
	p.Registry.SetBandwidth(20e6)
	defer p.Registry.SetBandwidth(0)
	before := p.Registry.Counts("shop/*").BlobBytes
	pod := lab.PodOn("", "waits-for-node-2", hot[0])
	pod.Namespace, pod.Spec.NodeSelector = "shop", map[string]string{corev1.LabelHostname: "node-2"}
	lab.StartPod(t, p.Cluster, pod)
	p.join(t, documented(t, "node-2"))
	lastByte, bytes := lab.StartStopwatch(), before
	var messages []string
	for joined := lab.StartStopwatch(); p.held(t, "node-2"); time.Sleep(20 * time.Millisecond) {
		if now := p.Registry.Counts("shop/*").BlobBytes; now != bytes {
			lastByte, bytes = lab.StartStopwatch(), now
		}
		if _, _, message := p.nodeCondition(t, "node-2"); message != "" && !slices.Contains(messages, message) {
			messages = append(messages, message)
		}
		if joined.Elapsed() > gateDeadline {
			t.Fatalf("it was not untainted; its condition said %q", messages)
		}
	}
	outlived := lastByte.Elapsed()
	t.Logf("the taint outlived the last byte of the images by %s; the condition said %q", outlived.Round(time.Millisecond), messages)
	if outlived > 5*time.Second { // 2 s on a machine of its own
		t.Errorf("the taint outlived the last byte by %s, want 2 s at most", outlived)
	}
	for _, image := range hot {
		p.WaitOnNodes(t, image, "node-2") // a held one is there before the container runs that proves it
	}
	if bytes-before < 16<<20 {
		t.Errorf("%d bytes were pulled", bytes-before)
	}
	p.waitCondition(t, "node-2", corev1.ConditionTrue, "ImagesPresent")
	if !slices.ContainsFunc(messages, func(m string) bool { return strings.HasPrefix(m, "0 of 2 images, 1 pulling") }) {
		t.Errorf("the condition never told of the first pull: %q", messages)
	}
	lab.Eventually(t, "the pod to run", func() error {
		got, err := p.Client().CoreV1().Pods("shop").Get(t.Context(), pod.Name, metav1.GetOptions{})
		if err == nil && !lab.PodRunning(got) {
			err = errors.New(string(got.Status.Phase))
		}
		return err
	})
	if said := p.PulledEvent(t, "shop", pod.Name); !strings.Contains(said, "already present") {
		t.Errorf("the pod pulled its image: %s", said)
	}
	p.removeNode(t, "node-2")
}

// deployFor deploys an image that pods use only on nodes of a class of their own, and returns the first one of it.
func (p product) deployFor(t *testing.T, class, image string) cluster.Node {
	t.Helper()
	d := lab.Deployment(class, image, 0)
	d.Spec.Template.Spec.NodeSelector = map[string]string{"pool": class}
	d.Spec.Template.Spec.Tolerations = []corev1.Toleration{{Key: "pool", Value: class}}
	p.Deploy(t, "shop", d)
	p.WaitState(t, image, "Skipped: NoNodes") // a node that joins is not to wait for nothing
	node := gated(class+"-1", corev1.Taint{Key: "pool", Value: class, Effect: corev1.TaintEffectNoSchedule})
	node.Labels = map[string]string{"pool": class}
	return node
}

// firstIsLimited joins the first node of a class while the registry of its only image answers 429, and then gives it.
func (p product) firstIsLimited(t *testing.T) {
	image := p.Push(t, "shop/limited:v1", images.Image{Seed: 705})
	p.Registry.SetFault("shop/limited", registry.TooManyRequests(time.Second))
	defer p.Registry.LiftFault("shop/limited")
	before := p.releases(t, "warm")
	p.join(t, p.deployFor(t, "limited", image))
	p.WaitState(t, image, "PullFailed: rate limit reached")
	p.waitMessage(t, "limited-1", "Pending", "0 of 1 images, 0 pulling; "+image+" cannot be pulled: rate limit reached")
	if !p.Listed(t, image) || !p.held(t, "limited-1") {
		t.Errorf("listed %v, held %v", p.Listed(t, image), p.held(t, "limited-1"))
	}
	p.Registry.LiftFault("shop/limited")
	took := p.waitReleased(t, "limited-1")
	t.Logf("untainted %s after its creation", took)
	p.waitMessage(t, "limited-1", "ImagesPresent", "1 of 1 images")
	if got := p.releases(t, "warm") - before; got != 1 {
		t.Errorf("%v releases of warm nodes are counted, want 1", got)
	}
	p.removeNode(t, "limited-1")
}

// firstFails joins the first node of a class whose only image does not exist, and then another one.
func (p product) firstFails(t *testing.T) {
	missing := p.Registry.Addr() + "/shop/missing:v1"
	before, first := p.releases(t, "failing"), p.deployFor(t, "missing", missing)
	second := first
	second.Name = "missing-2"
	for _, node := range []cluster.Node{first, second} {
		watch := lab.StartStopwatch()
		p.join(t, node)
		took := p.waitReleased(t, node.Name)
		t.Logf("untainted %s after its creation", took)
		if took-watch.Stalled() > gateDeadline {
			t.Errorf("it was held for %s", took)
		}
		p.waitMessage(t, node.Name, "AllFailed", "0 of 1 images, 0 pulling; "+missing+" cannot be pulled: not found")
		p.waitNodeEvent(t, node.Name, "ImagesNotReady", missing)
	}
	if got := p.releases(t, "failing") - before; got != 2 {
		t.Errorf("%v releases of failing nodes are counted, want 2", got)
	}
	for _, node := range []string{first.Name, second.Name} {
		p.removeNode(t, node)
	}
}

// manyJoin adds fake nodes, on which every image is there at once. They are counted in writes.
func (p product) manyJoin(t *testing.T, count int) {
	if err := p.AddFakeNodes(t.Context(), cluster.FakeNodes{Prefix: "fake-", Count: count, Taints: gated("").Taints}); err != nil {
		t.Fatal(err)
	}
	lab.Eventually(t, "the nodes to be untainted", func() error {
		for _, node := range p.nodes(t) {
			if hasGateTaint(&node) {
				return errors.New(node.Name + " is not")
			}
			if status, reason, message := conditionOfNode(&node); status != "True" {
				return fmt.Errorf("%s is %s, %s: %s", node.Name, status, reason, message)
			}
		}
		return nil
	})
	// Untainted, and a condition that says Pending, perhaps Pulling, and ImagesPresent.
	writes := p.nodeWrites(t, "fake-")
	t.Logf("%d nodes took %d writes", count, writes)
	if writes > 4*count {
		t.Errorf("%d nodes took %d writes", count, writes)
	}
	// Managers that restart must not be pretended to run there.
	for _, node := range p.nodes(t) {
		if strings.HasPrefix(node.Name, "fake-") {
			if err := p.Client().CoreV1().Nodes().Delete(t.Context(), node.Name, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// warmsUpEarly joins a node without a CNI configuration, so that it is not Ready and runs pods of the host's network alone.
func (p product) warmsUpEarly(t *testing.T) {
	upgrade := []string{"upgrade", "kube-prepull", lab.Source("deploy/chart"), "--namespace", lab.System, "--reuse-values", "--set", "config.hostNetwork=true", "--wait", "--timeout", "3m"}
	if err := lab.Helm(t.Context(), p.Cluster, upgrade...); err == nil || !strings.Contains(err.Error(), "enforces Pod Security restricted") {
		t.Fatalf("helm says %v of the host's network in a namespace that does not allow it", err)
	}
	if _, err := p.Kubectl(t.Context(), "label", "namespace", lab.System, "--overwrite", "pod-security.kubernetes.io/enforce=privileged"); err != nil {
		t.Fatal(err)
	}
	if err := lab.Helm(t.Context(), p.Cluster, upgrade...); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if t.Failed() {
			for _, manager := range p.Managers(t) {
				log, err := p.Kubectl(context.Background(), "--namespace="+lab.System, "logs", "--tail=20", manager.Name)
				t.Logf("manager %s on %s (%v):\n%s", manager.Name, manager.Spec.NodeName, err, log)
			}
		}
	}()
	lab.Eventually(t, "the prepull pods to be on the host's network", func() error {
		for _, ds := range p.DaemonSets(t) {
			if !ds.Spec.Template.Spec.HostNetwork {
				return errors.New(ds.Name + " is not")
			}
		}
		return nil
	})
	if err := p.JoinNode(t.Context(), gated("early-1")); err != nil {
		t.Fatal(err)
	}
	network := filepath.Join(p.Dir(), "nodes", "early-1", "var/lib/cni/net.d/bridge.conf")
	if err := os.Rename(network, network+".later"); err != nil {
		t.Fatal(err)
	}
	p.waitRegistered(t, "early-1")
	t.Logf("untainted %s after its creation", p.waitReleased(t, "early-1"))
	p.waitCondition(t, "early-1", corev1.ConditionTrue, "ImagesPresent")
	node, err := p.Client().CoreV1().Nodes().Get(t.Context(), "early-1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if nodeIsReady(node) {
		t.Error("it is Ready without a network")
	}
	if err := os.Rename(network+".later", network); err != nil {
		t.Fatal(err)
	}
	lab.Eventually(t, "the node to be Ready", func() error {
		if node, err := p.Client().CoreV1().Nodes().Get(t.Context(), "early-1", metav1.GetOptions{}); err != nil || !nodeIsReady(node) {
			return fmt.Errorf("it is not (%v)", err)
		}
		return nil
	})
	p.removeNode(t, "early-1")
}
