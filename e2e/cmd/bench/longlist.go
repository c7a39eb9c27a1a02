package main

import (
	"context"
	"fmt"
	"regexp"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/e2e/cluster"
	"github.com/kube-prepull/kube-prepull/e2e/lab"
)

const (
	longList     = 20
	longListSize = 10 << 20
)

// longListJoin measures how long a node that joins with the gate on is held for twenty images, beside what its kubelet takes to
// pull them one after the other for pods.
func longListJoin(ctx context.Context, dir string) ([]result, error) {
	return onNodes(ctx, dir, systemAndWeb, func(ctx context.Context, b *bench) error {
		n := &newNodes{bench: b}
		if err := n.prepare(ctx, longList, longListSize); err != nil {
			return err
		}
		n.registry.SetBandwidth(slowRegistry)
		bare, inTurn, err := n.pullInTurn(ctx, "bare-1")
		if err != nil {
			return err
		}
		n.registry.SetBandwidth(0)
		if err := n.install(ctx); err != nil {
			return err
		}
		if err := n.waitHeld(ctx, longList); err != nil {
			return err
		}
		n.registry.SetBandwidth(slowRegistry)
		held, err := n.heldFor(ctx, "gated-1")
		if err != nil {
			return err
		}
		name := fmt.Sprintf("a node that joins, %d images of %d MB at 100 Mbit/s: ", longList, longListSize>>20)
		n.add(name+"the pulls of a kubelet for pods, without what is between", bare.Seconds(), "s", "")
		n.add(name+"pods in turn, first creation to last Ready", inTurn.Seconds(), "s", "")
		n.add(name+"node Ready to taint gone", held.Seconds(), "s", fmt.Sprintf("< %.1f", 1.05*bare.Seconds()+3))
		n.add(name+"taint beside the pulls", held.Seconds()/bare.Seconds(), "times", "")
		return nil
	})
}

// pulled is what a kubelet says of the time that a pull took.
var pulled = regexp.MustCompile(`^Successfully pulled image .* in ([0-9.a-z]+) `)

// pullInTurn has a node run a pod of each image, one after the other. It returns what the pulls took, as the kubelet tells, and
// what all took together.
func (n *newNodes) pullInTurn(ctx context.Context, node string) (pulls, all time.Duration, err error) {
	if err := n.AddNode(ctx, cluster.Node{Name: node, Labels: web, Taints: []corev1.Taint{{Key: "pool", Value: "web", Effect: corev1.TaintEffectNoSchedule}}}); err != nil {
		return 0, 0, err
	}
	start := time.Now()
	for i, image := range n.images {
		pod := lab.PodOn(node, fmt.Sprintf("%s-%d", node, i), image)
		if _, err := n.Client().CoreV1().Pods(pod.Namespace).Create(ctx, pod, metav1.CreateOptions{}); err != nil {
			return 0, 0, err
		}
		err := n.poll(ctx, pod.Name+" to run", joinTimeout, func() (bool, error) {
			is, err := n.Client().CoreV1().Pods(pod.Namespace).Get(ctx, pod.Name, metav1.GetOptions{})
			return err == nil && lab.PodRunning(is), err
		})
		if err != nil {
			return 0, 0, err
		}
	}
	all = time.Since(start)
	events, err := n.Client().CoreV1().Events("default").List(ctx, metav1.ListOptions{FieldSelector: "reason=Pulled,source=kubelet"})
	if err != nil {
		return 0, 0, err
	}
	count := 0
	for _, e := range events.Items {
		if found := pulled.FindStringSubmatch(e.Message); found != nil && e.Source.Host == node {
			took, err := time.ParseDuration(found[1])
			if err != nil {
				return 0, 0, err
			}
			pulls, count = pulls+took, count+1
		}
	}
	if count != len(n.images) {
		return 0, 0, fmt.Errorf("the kubelet tells of %d pulls, of %d", count, len(n.images))
	}
	return pulls, all, n.RemoveNode(ctx, node)
}

// heldFor has a node join with the taint of the gate, and returns how long after it was Ready the taint was gone.
func (n *newNodes) heldFor(ctx context.Context, name string) (time.Duration, error) {
	taints := []corev1.Taint{warming, {Key: "pool", Value: "web", Effect: corev1.TaintEffectNoSchedule}}
	if err := n.JoinNode(ctx, cluster.Node{Name: name, Labels: web, Taints: taints}); err != nil {
		return 0, err
	}
	var ready time.Time
	err := n.poll(ctx, name+" to be untainted", joinTimeout, func() (bool, error) {
		node, err := n.Client().CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return false, nil // its kubelet has not said a word
		} else if err != nil {
			return false, err
		}
		held := false
		for _, t := range node.Spec.Taints {
			held = held || t.Key == warming.Key
		}
		for _, c := range node.Status.Conditions {
			if c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue && ready.IsZero() {
				ready = time.Now()
			}
		}
		return !ready.IsZero() && !held, nil
	})
	return time.Since(ready), err
}
