package main

import (
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/e2e/cluster"
	"github.com/kube-prepull/kube-prepull/e2e/lab"
)

// collectTimeout is more than two periods of a kubelet's garbage collection of images (ImageGCPeriod in pkg/kubelet/kubelet.go).
const collectTimeout = 12 * time.Minute

// collect counts the images that a kubelet leaves which takes its disk for full: it removes all that it may.
func collect(ctx context.Context, dir string) ([]result, error) {
	greedy := map[string]any{"imageGCHighThresholdPercent": 1, "imageGCLowThresholdPercent": 0, "imageMinimumGCAge": "1s"}
	return onNodes(ctx, dir, []cluster.Node{{Name: "node-1", Kubelet: greedy}}, func(ctx context.Context, b *bench) error {
		if err := lab.Install(ctx, b.Cluster, b.registry.Addr()); err != nil {
			return err
		}
		return (&changingNode{bench: b}).collect(ctx)
	})
}

// collect brings five images that are held and one that is not, and returns when the kubelet has removed that.
func (n *changingNode) collect(ctx context.Context) error {
	if err := n.namespace(ctx, changeNamespace); err != nil {
		return err
	}
	if err := n.bring(ctx, 5); err != nil {
		return err
	}
	if err := n.waitHeld(ctx, 5); err != nil {
		return err
	}
	unheld, err := n.pullOnce(ctx)
	if err != nil {
		return err
	}
	// Until now the containers that brought the images keep them, too.
	if err := n.restartPrepullPod(ctx); err != nil {
		return err
	}
	n.registry.ResetCounts()
	err = n.poll(ctx, "the kubelet to collect an image", collectTimeout, func() (bool, error) {
		there, err := n.images(ctx)
		return !slices.Contains(there, unheld), err
	})
	if err != nil {
		return err
	}
	there, err := n.images(ctx)
	if err != nil {
		return err
	}
	left := 0
	for i := range 5 {
		if slices.Contains(there, n.image(i)) {
			left++
		}
	}
	n.add("garbage collection on a full disk: images left of 5 that are held", float64(left), "images", "5")
	n.add("garbage collection on a full disk: images left of 1 that is not", 0, "images", "0")
	n.add("garbage collection on a full disk: images pulled again", float64(n.registry.Counts(changeNamespace+"/*").BlobGets), "blobs", "0")
	return nil
}

// images are the names of what the node lists.
func (n *changingNode) images(ctx context.Context) ([]string, error) {
	node, err := n.Client().CoreV1().Nodes().Get(ctx, "node-1", metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	var names []string
	for _, image := range node.Status.Images {
		names = append(names, image.Names...)
	}
	return names, nil
}

// pullOnce has a pod run that is gone when it returns, and its image listed.
func (n *changingNode) pullOnce(ctx context.Context) (string, error) {
	image, err := n.push(ctx, "once/app:v1", changeSize, 999)
	if err != nil {
		return "", err
	}
	pods := n.Client().CoreV1().Pods("default")
	if _, err := pods.Create(ctx, lab.PodOn("node-1", "once", image), metav1.CreateOptions{}); err != nil {
		return "", err
	}
	err = n.poll(ctx, "the node to list the image of a pod", joinTimeout, func() (bool, error) {
		there, err := n.images(ctx)
		return slices.Contains(there, image), err
	})
	if err != nil {
		return "", err
	}
	return image, pods.Delete(ctx, "once", metav1.DeleteOptions{GracePeriodSeconds: new(int64)})
}

// waitHeld returns when so many images are held.
func (b *bench) waitHeld(ctx context.Context, count int) error {
	return b.poll(ctx, "images to be held", joinTimeout, func() (bool, error) {
		list, err := b.Client().AppsV1().DaemonSets(system).List(ctx, metav1.ListOptions{})
		if err != nil || len(list.Items) != 1 {
			return false, err
		}
		held := slices.DeleteFunc(list.Items[0].Spec.Template.Spec.Volumes, func(v corev1.Volume) bool { return v.Image == nil })
		return len(held) == count, nil
	})
}

// restartPrepullPod deletes the prepull pod, and returns when the next one is ready.
func (n *changingNode) restartPrepullPod(ctx context.Context) error {
	former, err := n.prepullPod(ctx)
	if err != nil {
		return err
	}
	if err := n.Client().CoreV1().Pods(system).Delete(ctx, former.Name, metav1.DeleteOptions{}); err != nil {
		return err
	}
	return n.poll(ctx, "the next prepull pod to be ready", joinTimeout, func() (bool, error) {
		pod, err := n.prepullPod(ctx)
		return err == nil && pod.UID != former.UID && lab.PodRunning(pod), nil
	})
}
