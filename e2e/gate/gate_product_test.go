package gate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/kube-prepull/kube-prepull/e2e/cluster"
	"github.com/kube-prepull/kube-prepull/e2e/lab"
)

func gatedProduct(t *testing.T, nodes ...cluster.Node) product {
	t.Helper()
	p := product{lab.UninstalledOn(t, cluster.Options{Nodes: nodes},
		"--set", "config.nodeCondition=true", "--set", "config.gate.enabled=true",
		"--set", "config.gate.taintKey="+gateKey, "--set", "config.gate.deadline="+gateDeadline.String())}
	if err := p.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	return p
}

var kubeletExample = regexp.MustCompile("(?s)```yaml\n([^`]*\nkind: KubeletConfiguration\n.*?)```")

// documented is a node whose kubelet is configured as docs/autoscalers.md says.
func documented(t *testing.T, name string) cluster.Node {
	t.Helper()
	page, err := os.ReadFile(lab.Source("docs/autoscalers.md"))
	if err != nil {
		t.Fatal(err)
	}
	example := kubeletExample.FindSubmatch(page)
	if example == nil {
		t.Fatal("there is no example of a kubelet's configuration")
	}
	node := cluster.Node{Name: name}
	if err := yaml.Unmarshal(example[1], &node.Kubelet); err != nil {
		t.Fatal(err)
	}
	return node
}

func (p product) join(t *testing.T, node cluster.Node) {
	t.Helper()
	if err := p.JoinNode(t.Context(), node); err != nil {
		t.Fatal(err)
	}
	p.waitRegistered(t, node.Name)
}

func (p product) waitRegistered(t *testing.T, name string) {
	t.Helper()
	lab.Eventually(t, "node "+name+" to register", func() error {
		_, err := p.Client().CoreV1().Nodes().Get(t.Context(), name, metav1.GetOptions{})
		return err
	})
}

func (p product) removeNode(t *testing.T, name string) {
	t.Helper()
	if err := p.RemoveNode(t.Context(), name); err != nil {
		t.Fatal(err)
	}
}

func (p product) nodes(t *testing.T) []corev1.Node {
	t.Helper()
	list, err := p.Client().CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// held says whether a node has the taint of the gate.
func (p product) held(t *testing.T, name string) bool {
	t.Helper()
	node, err := p.Client().CoreV1().Nodes().Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return hasGateTaint(node)
}

func hasGateTaint(node *corev1.Node) bool {
	return slices.ContainsFunc(node.Spec.Taints, func(taint corev1.Taint) bool { return taint.Key == gateKey })
}

func nodeIsReady(node *corev1.Node) bool {
	return slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}

// waitReleased returns how long after its creation a node was untainted.
func (p product) waitReleased(t *testing.T, name string) time.Duration {
	t.Helper()
	lab.Eventually(t, "node "+name+" to be untainted", func() error {
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
func (p product) nodeCondition(t *testing.T, name string) (status, reason, message string) {
	t.Helper()
	node, err := p.Client().CoreV1().Nodes().Get(t.Context(), name, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	return conditionOfNode(node)
}

func conditionOfNode(node *corev1.Node) (status, reason, message string) {
	for _, c := range node.Status.Conditions {
		if c.Type == nodeCondition {
			return string(c.Status), c.Reason, c.Message
		}
	}
	return "", "", ""
}

func (p product) waitCondition(t *testing.T, name string, status corev1.ConditionStatus, reason string) {
	t.Helper()
	lab.Eventually(t, fmt.Sprintf("node %s to be %s, %s", name, status, reason), func() error {
		gotStatus, gotReason, message := p.nodeCondition(t, name)
		if gotStatus != string(status) || gotReason != reason {
			return fmt.Errorf("it is %s, %s: %s", gotStatus, gotReason, message)
		}
		return nil
	})
}

// waitMessage waits for what our condition of a node says, to the letter.
func (p product) waitMessage(t *testing.T, name, reason, message string) {
	t.Helper()
	lab.Eventually(t, fmt.Sprintf("node %s to say %s", name, reason), func() error {
		if _, gotReason, got := p.nodeCondition(t, name); gotReason != reason || got != message {
			return fmt.Errorf("it is %s: %s", gotReason, got)
		}
		return nil
	})
}

// watchCondition returns a function that ends the watch and returns the statuses that our condition of a node had.
func (p product) watchCondition(t *testing.T, name string) func() []corev1.ConditionStatus {
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

func (p product) waitNodeEvent(t *testing.T, node, reason, words string) {
	t.Helper()
	lab.Eventually(t, fmt.Sprintf("the Event %s of node %s", reason, node), func() error {
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

// releases is how many nodes were untainted for a reason.
func (p product) releases(t *testing.T, reason string) float64 {
	t.Helper()
	sum := 0.0
	for _, manager := range p.Managers(t) {
		sum += p.Metric(t, manager, fmt.Sprintf("kube_prepull_gate_releases_total{reason=%q}", reason))
	}
	return sum
}

// nodeWrites is how often managers wrote to nodes whose names have a prefix, by the audit log.
func (p product) nodeWrites(t *testing.T, prefix string) int {
	t.Helper()
	log, err := os.ReadFile(filepath.Join(p.Dir(), "logs", "audit.log"))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(log)) {
		if strings.Contains(line, `"verb":"patch"`) && strings.Contains(line, `"resource":"nodes"`) && strings.Contains(line, `"name":"`+prefix) {
			n++
		}
	}
	return n
}
