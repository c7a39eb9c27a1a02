package main

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/e2e/cluster"
)

// What a node pulls whose kubelet pulls several images at the same time, from a registry that caps each connection.
const (
	laneImages    = 8
	laneSize      = 60 << 20
	laneBandwidth = 25e6 // bits per second, of each download
	parallelPulls = 4
)

// inParallel is the configuration of such a kubelet.
var inParallel = map[string]any{"serializeImagePulls": false, "maxParallelImagePulls": parallelPulls}

// lanes measures on real nodes how long one takes that joins until it has its images: with pods alone, and with one, two and four
// prepull pods for each node. Between them the number is changed, and the node that has the images pulls none again.
func lanes(ctx context.Context, dir string) ([]result, error) {
	nodes := []cluster.Node{systemAndWeb[0], systemAndWeb[1]}
	nodes[1].Kubelet = inParallel
	return onNodes(ctx, dir, nodes, func(ctx context.Context, b *bench) error {
		n := &newNodes{bench: b, kubelet: inParallel}
		if err := n.prepare(ctx, laneImages, laneSize); err != nil {
			return err
		}
		if err := n.bareInParallel(ctx); err != nil {
			return err
		}
		for _, pulls := range []int{1, 2, parallelPulls} {
			if err := n.warmWith(ctx, pulls); err != nil {
				return fmt.Errorf("%d pulls for each node: %w", pulls, err)
			}
		}
		before := n.registry.Counts(shop + "/*")
		if err := n.changePulls(ctx, 1); err != nil {
			return err
		}
		n.add("back to one prepull pod for each node: pulled again", float64(n.registry.Counts(shop+"/*").BlobGets-before.BlobGets), "blobs", "0")
		return nil
	})
}

// bareInParallel measures the pods alone.
func (n *newNodes) bareInParallel(ctx context.Context) error {
	if err := n.podsFor(ctx, "bare-1"); err != nil {
		return err
	}
	joins, err := n.joinSlowly(ctx, "bare-1", laneImages)
	if err != nil {
		return err
	}
	n.bare = joins["bare-1"].lastPull.Sub(joins["bare-1"].created)
	n.add(fmt.Sprintf("%d images of %d MB, 25 Mbit/s for each download, %d at a time: node to the kubelet's last Pulled, pods alone", laneImages, laneSize>>20, parallelPulls), n.bare.Seconds(), "s", "")
	return n.RemoveNode(ctx, "bare-1")
}

// joinSlowly has a node join while the registry caps each download.
func (n *newNodes) joinSlowly(ctx context.Context, node string, pods int, taints ...corev1.Taint) (map[string]*joined, error) {
	n.registry.SetBandwidthEach(laneBandwidth)
	defer n.registry.SetBandwidthEach(0)
	joins, _, err := n.join(ctx, []string{node}, pods, taints...)
	return joins, err
}

// warmWith measures with so many prepull pods for each node.
func (n *newNodes) warmWith(ctx context.Context, pulls int) error {
	before := n.registry.Counts(shop + "/*")
	if err := n.changePulls(ctx, pulls); err != nil {
		return err
	}
	if pulls > 1 {
		n.add(fmt.Sprintf("change to %d prepull pods for each node: pulled again", pulls), float64(n.registry.Counts(shop+"/*").BlobGets-before.BlobGets), "blobs", "0")
	}
	node, target := fmt.Sprint("lanes-", pulls), ""
	if pulls == parallelPulls {
		target = "< 1.1"
	}
	joins, err := n.joinSlowly(ctx, node, 0, warming)
	if err != nil {
		return err
	}
	warm := joins[node].released.Sub(joins[node].created)
	n.add(fmt.Sprintf("the same with %d prepull pods for each node: node to warm", pulls), warm.Seconds(), "s", "")
	n.add(fmt.Sprintf("the same with %d prepull pods for each node: node to warm, beside the pods alone", pulls), warm.Seconds()/n.bare.Seconds(), "times", target)
	return n.RemoveNode(ctx, node)
}

// changePulls returns when the images are in so many lists, and each pod that is there has its own.
func (n *newNodes) changePulls(ctx context.Context, pulls int) error {
	if err := n.install(ctx, "--set", fmt.Sprint("config.pullsPerNode=", pulls)); err != nil {
		return err
	}
	selector := metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=prepull"}
	return n.poll(ctx, fmt.Sprintf("%d lists", pulls), 3*time.Minute, func() (bool, error) {
		lists, err := n.Client().AppsV1().DaemonSets("kube-prepull").List(ctx, selector)
		if err != nil {
			return false, err
		}
		pods, err := n.Client().CoreV1().Pods("kube-prepull").List(ctx, selector)
		if err != nil {
			return false, err
		}
		return settled(lists.Items, pods.Items, pulls, laneImages), nil
	})
}

// settled tells whether so many images are in so many lists, each in one, and every pod has its list and no second one beside it.
func settled(lists []appsv1.DaemonSet, pods []corev1.Pod, count, images int) bool {
	listed, wanted := 0, 0
	current := map[string]bool{}
	for i := range lists {
		spec := &lists[i].Spec.Template.Spec
		listed += len(spec.InitContainers) - 1 + len(spec.Volumes) - 1
		wanted += int(lists[i].Status.DesiredNumberScheduled)
		current[lists[i].Labels["kube-prepull.io/list"]] = true
	}
	for i := range pods {
		ready := false
		for _, c := range pods[i].Status.Conditions {
			ready = ready || c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		}
		if !ready || !current[pods[i].Labels["kube-prepull.io/list"]] {
			return false
		}
	}
	return len(lists) == count && listed == images && len(pods) == wanted
}
