package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/e2e/cluster"
	"github.com/kube-prepull/kube-prepull/e2e/lab"
)

// What a new node is to pull.
const (
	shop        = "shop"
	hotImages   = 20
	hotSize     = 10 << 20
	joinTimeout = 4 * time.Minute
)

// warming is the taint of the gate.
var warming = corev1.Taint{Key: "kube-prepull.io/warming", Effect: corev1.TaintEffectNoSchedule}

// newNodes is a cluster that nodes join, and the registry that they pull from.
type newNodes struct {
	*bench
	images []string

	// kubelet is merged into the configuration of the kubelets of nodes that join.
	kubelet map[string]any

	// bare is how long the kubelet of a node alone takes to pull the images one after the other, from the creation of the node.
	bare time.Duration
}

// newNode measures on real nodes what pods wait that a node was made for: without kube-prepull, with it, and with its gate;
// and what three nodes that join at once do to each other.
func newNode(ctx context.Context, dir string) ([]result, error) {
	return onNodes(ctx, dir, systemAndWeb, func(ctx context.Context, b *bench) error {
		n := &newNodes{bench: b}
		if err := n.prepare(ctx, hotImages, hotSize); err != nil {
			return err
		}
		n.registry.SetBandwidth(slowRegistry)
		if err := n.podsOn(ctx, "without kube-prepull", "bare-1"); err != nil {
			return err
		}
		n.registry.SetBandwidth(0)
		if err := n.install(ctx); err != nil {
			return err
		}
		n.registry.SetBandwidth(slowRegistry)
		if err := n.podsOn(ctx, "without the gate", "open-1"); err != nil {
			return err
		}
		if err := n.podsOn(ctx, "with the gate", "gated-1", warming); err != nil {
			return err
		}
		if err := n.atOnce(ctx, "three new nodes at once", "three"); err != nil {
			return err
		}
		return n.atOnce(ctx, "the first three nodes of a class at once, in waves of one", "first", corev1.Taint{Key: "class", Value: "new", Effect: corev1.TaintEffectNoSchedule})
	})
}

// web are the labels of the nodes that the workload runs on.
var web = map[string]string{"pool": "web"}

// systemAndWeb are a node for the managers, and one that has the images that nodes which join are to pull.
var systemAndWeb = []cluster.Node{
	{Name: "system-1"}, {Name: "web-1", Labels: web, Taints: []corev1.Taint{{Key: "pool", Value: "web", Effect: corev1.TaintEffectNoSchedule}}},
}

// prepare makes the workload, which has no pods yet: so many images of a size.
func (n *newNodes) prepare(ctx context.Context, count int, size int64) error {
	if err := n.namespace(ctx, shop); err != nil {
		return err
	}
	for i := range count {
		image, err := n.push(ctx, fmt.Sprintf("%s/hot-%d:v1", shop, i), size, uint64(100+i))
		if err != nil {
			return err
		}
		d := benchDeployment(fmt.Sprint("hot-", i), image)
		d.Spec.Template.Spec.NodeSelector, d.Spec.Template.Spec.Tolerations = web, tolerate
		if _, err := n.Client().AppsV1().Deployments(shop).Create(ctx, d, metav1.CreateOptions{}); err != nil {
			return err
		}
		n.images = append(n.images, image)
	}
	return nil
}

// tolerate is of pods of the workload; they do not go past the gate.
var tolerate = []corev1.Toleration{{Key: "pool", Operator: corev1.TolerationOpExists}, {Key: "class", Operator: corev1.TolerationOpExists}}

// install returns when the first node of the workload has its images. More settings go to helm.
func (n *newNodes) install(ctx context.Context, settings ...string) error {
	err := lab.Install(ctx, n.Cluster, n.registry.Addr(), append([]string{
		"--set", "config.nodeCondition=true", "--set", "config.gate.enabled=true", "--set", "config.maxConcurrentNodes=1",
	}, settings...)...)
	if err != nil {
		return err
	}
	return n.poll(ctx, "the first node to have the images", joinTimeout, func() (bool, error) {
		node, err := n.Client().CoreV1().Nodes().Get(ctx, "web-1", metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		_, reason, message := imagesReady(node)
		return reason == "ImagesPresent" && message == fmt.Sprintf("%[1]d of %[1]d images", len(n.images)), nil
	})
}

// podsFor makes pods that wait for a node, one with each image.
func (n *newNodes) podsFor(ctx context.Context, node string) error {
	for i, image := range n.images {
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-%d", node, i)},
			Spec: corev1.PodSpec{
				NodeSelector: map[string]string{corev1.LabelHostname: node}, Tolerations: tolerate,
				Containers: []corev1.Container{{Name: "app", Image: image, ImagePullPolicy: corev1.PullIfNotPresent}},
			},
		}
		if _, err := n.Client().CoreV1().Pods(shop).Create(ctx, pod, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	return nil
}

// podsOn has pods wait for a node, one with each image, and measures from the creation of the node.
func (n *newNodes) podsOn(ctx context.Context, how, node string, taints ...corev1.Taint) error {
	if err := n.podsFor(ctx, node); err != nil {
		return err
	}
	before := n.registry.Counts(shop + "/*")
	joins, _, err := n.join(ctx, []string{node}, hotImages, taints...)
	if err != nil {
		return fmt.Errorf("%s: %w", how, err)
	}
	j, after := joins[node], n.registry.Counts(shop+"/*")
	took := func(q float64) float64 { return quantile(j.pods(), q).Seconds() }
	name := fmt.Sprintf("new node, %d pods of %d MB at 100 Mbit/s, %s: ", hotImages, hotSize>>20, how)
	n.add(name+"node to first pod Ready", took(0), "s", "")
	n.add(name+"node to median pod Ready", took(0.5), "s", "")
	n.add(name+"node to last pod Ready", took(1), "s", "")
	n.add(name+"first to last pod Ready", took(1)-took(0), "s", "")
	n.add(name+"layers and configurations pulled", float64(after.BlobGets-before.BlobGets), "blobs", "")
	n.add(name+"pulled from the registry", float64(after.BlobBytes-before.BlobBytes)/(1<<20), "MB", "")
	if n.bare == 0 {
		// A pod for each image: kubelets put the events of one pod that are alike together.
		n.bare = j.lastPull.Sub(j.created)
		n.add(name+"node to the kubelet's last Pulled", n.bare.Seconds(), "s", "")
	}
	if len(taints) > 0 {
		warm := j.released.Sub(j.created)
		n.add(name+"node to warm, beside the bare pulls", warm.Seconds()/n.bare.Seconds(), "times", "")
		n.add(name+"node to warm, later than 1.05 times the bare pulls", warm.Seconds()-1.05*n.bare.Seconds(), "s", "< 3")
		n.add(name+"taint outlived the last byte", j.released.Sub(j.lastByte).Seconds(), "s", "< 2")
	}
	return n.RemoveNode(ctx, node)
}

// atOnce has three nodes join at the same time, which share the registry.
func (n *newNodes) atOnce(ctx context.Context, how, prefix string, taints ...corev1.Taint) error {
	names := []string{prefix + "-1", prefix + "-2", prefix + "-3"}
	joins, together, err := n.join(ctx, names, 0, append(taints, warming)...)
	if err != nil {
		return fmt.Errorf("%s: %w", how, err)
	}
	how += ", 100 Mbit/s: "
	var took []time.Duration
	for _, name := range names {
		took = append(took, joins[name].released.Sub(joins[name].created))
	}
	first, last := quantile(took, 0).Seconds(), quantile(took, 1).Seconds()
	n.add(how+"pull at the same time", float64(together), "nodes", "")
	n.add(how+"node to warm, first", first, "s", "")
	n.add(how+"node to warm, last", last, "s", "")
	n.add(how+"last to first", last/first, "times", "")
	for _, name := range names {
		err = errors.Join(err, n.RemoveNode(ctx, name))
	}
	return err
}

// imagesReady is status, reason and message of our condition of a node; empty if it has none.
func imagesReady(node *corev1.Node) (status corev1.ConditionStatus, reason, message string) {
	i := slices.IndexFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool { return c.Type == "kube-prepull.io/ImagesReady" })
	if i < 0 {
		return "", "", ""
	}
	c := node.Status.Conditions[i]
	return c.Status, c.Reason, c.Message
}
