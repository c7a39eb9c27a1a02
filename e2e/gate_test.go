package e2e

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
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/kube-prepull/kube-prepull/e2e/cluster"
	"github.com/kube-prepull/kube-prepull/e2e/images"
	"github.com/kube-prepull/kube-prepull/e2e/lab"
	"github.com/kube-prepull/kube-prepull/e2e/registry"
)

const (
	gateKey       = "startup-taint.cluster-autoscaler.kubernetes.io/images"
	gateDeadline  = 30 * time.Second
	nodeCondition = "kube-prepull.io/ImagesReady"
)

// gated is a node whose kubelet registers with the taint of the gate.
func gated(name string, more ...corev1.Taint) cluster.Node {
	return cluster.Node{Name: name, Taints: append(more, corev1.Taint{Key: gateKey, Effect: corev1.TaintEffectNoSchedule})}
}

// TestNewNodesAreWarmBeforePodsLandOnThem has a cluster in which every node registers with the taint, from the first one.
func TestNewNodesAreWarmBeforePodsLandOnThem(t *testing.T) {
	t.Parallel()
	requireNodes(t)
	p := gatedProduct(t, gated("node-1"))
	p.waitCondition(t, "node-1", corev1.ConditionTrue, "NothingToPull")
	p.waitReleased(t, "node-1")

	p.namespace(t, "shop", true)
	web := p.push(t, "shop/web:v1", images.Image{Seed: 701, Size: 8 << 20, Layers: 2})
	api := p.push(t, "shop/api:v1", images.Image{Seed: 702, Size: 8 << 20, Layers: 2})
	broken := p.push(t, "shop/broken:v1", images.Image{Seed: 703})
	p.registry.SetFault("shop/broken", registry.Refuse(http.StatusNotFound))
	turned := p.watchCondition(t, "node-1")
	for name, image := range map[string]string{"web": web, "api": api, "broken": broken} {
		p.deploy(t, "shop", deployment(name, image, 0))
	}
	p.waitState(t, web, "Ready")
	p.waitState(t, api, "Ready")
	p.waitState(t, broken, "PullFailed")
	eventually(t, 30*time.Second, "the condition to count the new images", func() error {
		if _, reason, message := p.nodeCondition(t, "node-1"); reason != "ImagesPresent" || message != "2 of 2 images" {
			return fmt.Errorf("it is %s: %s", reason, message)
		}
		return nil
	})
	if got := turned(); slices.ContainsFunc(got, func(s corev1.ConditionStatus) bool { return s != corev1.ConditionTrue }) {
		t.Errorf("a warm node that was given new images said %v", got)
	}

	t.Run("a new node is held until its images are there, and no longer", func(t *testing.T) { p.warmsUp(t, web, api) })
	t.Run("no manager runs for a while", func(t *testing.T) {
		p.registry.SetBandwidth(40e6)
		p.join(t, gated("node-3"))
		eventually(t, time.Minute, "the node to pull", func() error {
			if status, reason, _ := p.nodeCondition(t, "node-3"); status != "False" || reason != "Pulling" {
				return fmt.Errorf("it is %s, %s", status, reason)
			}
			return nil
		})
		p.killManagers(t)
		if !p.held(t, "node-3") {
			t.Error("the node was let go before its images were there")
		}
		p.registry.SetBandwidth(0)
		p.scaleManagers(t, 2)
		p.waitReleased(t, "node-3")
		p.waitCondition(t, "node-3", corev1.ConditionTrue, "ImagesPresent")
		p.removeNode(t, "node-3")
	})
	t.Run("a node that has nothing to wait for is let go at once", func(t *testing.T) {
		p.join(t, gated("own-1", corev1.Taint{Key: "owner", Value: "data", Effect: corev1.TaintEffectNoSchedule}))
		took := p.waitReleased(t, "own-1")
		t.Logf("let go %s after its creation", took)
		if took > 5*time.Second {
			t.Errorf("it was held for %s", took)
		}
		p.removeNode(t, "own-1")
	})
	t.Run("an image that fails on a node does not hold it", func(t *testing.T) {
		p.registry.SetFault("shop/api", registry.Refuse(http.StatusForbidden))
		defer p.registry.LiftFault("shop/api")
		p.join(t, gated("node-4"))
		took := p.waitReleased(t, "node-4")
		t.Logf("let go %s after its creation", took)
		p.waitCondition(t, "node-4", corev1.ConditionTrue, "SomeFailed")
		p.waitNodeEvent(t, "node-4", "ImagesNotReady", api)
		if took > gateDeadline {
			t.Errorf("it was held for %s", took)
		}
		p.removeNode(t, "node-4")
	})
	t.Run("a node that is deleted while it is held is held again when it comes back", func(t *testing.T) {
		p.registry.SetFault("shop/web", registry.Hang())
		p.join(t, gated("node-5"))
		p.waitCondition(t, "node-5", corev1.ConditionFalse, "Pulling")
		p.removeNode(t, "node-5")
		p.join(t, gated("node-5"))
		p.waitCondition(t, "node-5", corev1.ConditionFalse, "Pulling")
		if !p.held(t, "node-5") {
			t.Error("it was let go")
		}
	})
	t.Run("at the deadline it is let go, and that is told", func(t *testing.T) {
		took := p.waitReleased(t, "node-5")
		if took < gateDeadline || took > gateDeadline+3*time.Second {
			t.Errorf("it was held for %s, want %s", took, gateDeadline)
		}
		p.waitNodeEvent(t, "node-5", "ImagesNotReadyInTime", web)
		if got := p.releases(t, "deadline"); got != 1 {
			t.Errorf("%v releases at the deadline are counted, want 1", got)
		}
	})
	t.Run("nothing is written while nothing changes", func(t *testing.T) { p.nodesRest(t, 10*time.Second) })
	t.Run("uninstalling lets go and takes the condition away", func(t *testing.T) {
		p.join(t, gated("node-6"))
		p.waitCondition(t, "node-6", corev1.ConditionFalse, "Pulling")
		p.mayBeRefused() // a manager may end after its roles
		if err := lab.Uninstall(t.Context(), p.Cluster); err != nil {
			t.Fatal(err)
		}
		if took := p.waitReleased(t, "node-6"); took > gateDeadline {
			t.Errorf("it was held for %s: that was the deadline", took)
		}
		for _, node := range p.nodes(t) {
			if status, _, _ := p.nodeCondition(t, node.Name); status != "" {
				t.Errorf("node %s has the condition still", node.Name)
			}
		}
		p.registry.LiftFault("shop/web")
	})
}

// warmsUp watches a node from its creation on, with a pod that waits for it.
func (p *product) warmsUp(t *testing.T, hot ...string) {
	p.registry.SetBandwidth(20e6)
	defer p.registry.SetBandwidth(0)
	before := p.registry.Counts("shop/*").BlobBytes
	pod := podOn("", "waits-for-node-2", hot[0])
	pod.Namespace, pod.Spec.NodeSelector = "shop", map[string]string{corev1.LabelHostname: "node-2"}
	startPod(t, p.Cluster, pod)
	p.join(t, gated("node-2"))
	lastByte, bytes := time.Now(), before
	var messages []string
	for deadline := time.Now().Add(gateDeadline); p.held(t, "node-2"); time.Sleep(20 * time.Millisecond) {
		if now := p.registry.Counts("shop/*").BlobBytes; now != bytes {
			lastByte, bytes = time.Now(), now
		}
		if _, _, message := p.nodeCondition(t, "node-2"); message != "" && !slices.Contains(messages, message) {
			messages = append(messages, message)
		}
		if time.Now().After(deadline) {
			t.Fatalf("it was not let go; its condition said %q", messages)
		}
	}
	outlived := time.Since(lastByte)
	t.Logf("the taint outlived the last byte of the images by %s; the condition said %q", outlived.Round(time.Millisecond), messages)
	if outlived > 2*time.Second+500*time.Millisecond {
		t.Errorf("the taint outlived the last byte by %s, want 2 s at most and a little for unpacking", outlived)
	}
	for _, image := range hot {
		if !p.onNode(t, image, "node-2") {
			t.Errorf("%s is not there", image)
		}
	}
	if bytes-before < 16<<20 {
		t.Errorf("%d bytes were pulled", bytes-before)
	}
	p.waitCondition(t, "node-2", corev1.ConditionTrue, "ImagesPresent")
	if !slices.ContainsFunc(messages, func(m string) bool { return strings.HasPrefix(m, "0 of 2 images, 1 pulling") }) {
		t.Errorf("the condition never told of the first pull: %q", messages)
	}
	eventually(t, 30*time.Second, "the pod to run", func() error {
		got, err := p.Client().CoreV1().Pods("shop").Get(t.Context(), pod.Name, metav1.GetOptions{})
		if err == nil && !podRunning(got) {
			err = errors.New(string(got.Status.Phase))
		}
		return err
	})
	if said := p.pulledEvent(t, "shop", pod.Name); !strings.Contains(said, "already present") {
		t.Errorf("the pod pulled its image: %s", said)
	}
	p.removeNode(t, "node-2")
}

func gatedProduct(t *testing.T, nodes ...cluster.Node) *product {
	t.Helper()
	c, err := cluster.Up(t.Context(), audited(cluster.Options{Dir: shortTempDir(t), Nodes: nodes}))
	if err != nil {
		t.Fatal(err)
	}
	p := &product{Cluster: c, settings: []string{
		"--set", "config.nodeCondition=true", "--set", "config.gate.enabled=true",
		"--set", "config.gate.taintKey=" + gateKey, "--set", "config.gate.deadline=" + gateDeadline.String(),
	}}
	t.Cleanup(func() {
		if err := errors.Join(p.registry.Close(), takeDown(c, p.refusals...)); err != nil {
			t.Error(err)
		}
	})
	if err := p.install(t.Context()); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *product) join(t *testing.T, node cluster.Node) {
	t.Helper()
	if err := p.JoinNode(t.Context(), node); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, "node "+node.Name+" to register", func() error {
		_, err := p.Client().CoreV1().Nodes().Get(t.Context(), node.Name, metav1.GetOptions{})
		return err
	})
}

func (p *product) removeNode(t *testing.T, name string) {
	t.Helper()
	if err := p.RemoveNode(t.Context(), name); err != nil {
		t.Fatal(err)
	}
}

func (p *product) nodes(t *testing.T) []corev1.Node {
	t.Helper()
	list, err := p.Client().CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// held says whether a node has the taint of the gate.
func (p *product) held(t *testing.T, name string) bool {
	t.Helper()
	node, err := p.Client().CoreV1().Nodes().Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(node.Spec.Taints, func(taint corev1.Taint) bool { return taint.Key == gateKey })
}

// waitReleased returns how long after its creation a node was let go.
func (p *product) waitReleased(t *testing.T, name string) time.Duration {
	t.Helper()
	eventually(t, gateDeadline+20*time.Second, "node "+name+" to be let go", func() error {
		if p.held(t, name) {
			_, _, message := p.nodeCondition(t, name)
			return errors.New(message)
		}
		return nil
	})
	node, err := p.Client().CoreV1().Nodes().Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return time.Since(node.CreationTimestamp.Time)
}

// nodeCondition is status, reason and message of our condition of a node; empty if it has none.
func (p *product) nodeCondition(t *testing.T, name string) (status, reason, message string) {
	t.Helper()
	node, err := p.Client().CoreV1().Nodes().Get(t.Context(), name, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	for _, c := range node.Status.Conditions {
		if c.Type == nodeCondition {
			return string(c.Status), c.Reason, c.Message
		}
	}
	return "", "", ""
}

func (p *product) waitCondition(t *testing.T, name string, status corev1.ConditionStatus, reason string) {
	t.Helper()
	eventually(t, time.Minute, fmt.Sprintf("node %s to be %s, %s", name, status, reason), func() error {
		gotStatus, gotReason, message := p.nodeCondition(t, name)
		if gotStatus != string(status) || gotReason != reason {
			return fmt.Errorf("it is %s, %s: %s", gotStatus, gotReason, message)
		}
		return nil
	})
}

// watchCondition returns a function that ends the watch and returns the statuses that our condition of a node had.
func (p *product) watchCondition(t *testing.T, name string) func() []corev1.ConditionStatus {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	w, err := p.Client().CoreV1().Nodes().Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan []corev1.ConditionStatus, 1)
	go func() {
		var seen []corev1.ConditionStatus
		for e := range w.ResultChan() {
			if node, ok := e.Object.(*corev1.Node); ok && e.Type != watch.Deleted {
				for _, c := range node.Status.Conditions {
					if c.Type == nodeCondition {
						seen = append(seen, c.Status)
					}
				}
			}
		}
		done <- slices.Compact(seen)
	}()
	return func() []corev1.ConditionStatus { stop(); return <-done }
}

func (p *product) waitNodeEvent(t *testing.T, node, reason, words string) {
	t.Helper()
	eventually(t, 30*time.Second, fmt.Sprintf("the Event %s of node %s", reason, node), func() error {
		events, err := p.Client().CoreV1().Events("default").List(t.Context(), metav1.ListOptions{
			FieldSelector: "involvedObject.kind=Node,involvedObject.name=" + node + ",reason=" + reason,
		})
		if err != nil || len(events.Items) != 1 {
			return fmt.Errorf("there are %d (%v)", len(events.Items), err)
		}
		if !strings.Contains(events.Items[0].Message, words) {
			return errors.New(events.Items[0].Message)
		}
		return nil
	})
}

// releases is how many nodes were let go for a reason.
func (p *product) releases(t *testing.T, reason string) float64 {
	t.Helper()
	sum := 0.0
	for _, manager := range p.managers(t) {
		sum += metric(t, manager, fmt.Sprintf("kube_prepull_gate_releases_total{reason=%q}", reason))
	}
	return sum
}

// nodesRest fails if a manager writes to a node within a time.
func (p *product) nodesRest(t *testing.T, rest time.Duration) {
	t.Helper()
	before := p.nodeWrites(t)
	time.Sleep(rest)
	if after := p.nodeWrites(t); after != before {
		t.Errorf("nodes were written %d times", after-before)
	}
}

// nodeWrites is how often managers wrote to nodes, by the audit log.
func (p *product) nodeWrites(t *testing.T) int {
	t.Helper()
	log, err := os.ReadFile(filepath.Join(p.Dir(), "logs", "audit.log"))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(log)) {
		if strings.Contains(line, `"verb":"patch"`) && strings.Contains(line, `"resource":"nodes"`) {
			n++
		}
	}
	return n
}
