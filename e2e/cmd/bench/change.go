package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/e2e/cluster"
	"github.com/kube-prepull/kube-prepull/e2e/lab"
)

const (
	changeNamespace = "change"
	changeSize      = 1 << 20

	// settleTime is what a node may have to do still after a change: the old pod is taken down.
	settleTime = 5 * time.Second
)

// controlPrograms are those of the control plane: all others run on the nodes.
var controlPrograms = []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"}

// change measures on a real node what one new image costs it that has a list of fifty, in both ways to hold images.
func change(ctx context.Context, dir string) ([]result, error) {
	return onNodes(ctx, dir, []cluster.Node{{Name: "node-1"}}, func(ctx context.Context, b *bench) error {
		n := &changingNode{bench: b}
		if err := n.namespace(ctx, changeNamespace); err != nil {
			return err
		}
		var took, used []time.Duration
		for _, way := range ways {
			elapsed, burnt, err := n.measureChange(ctx, way.setting)
			if err != nil {
				return err
			}
			took, used = append(took, elapsed), append(used, burnt)
			n.add("one new image on a node with a list of 50, "+way.words, elapsed.Seconds(), "s", "")
			n.add("one new image on a node with a list of 50, "+way.words+": kubelet, containerd and shims", burnt.Seconds(), "CPU s", "")
		}
		n.add("one new image on a node with a list of 50: part of the processor time", used[0].Seconds()/used[1].Seconds(), "times", "< 0.1")
		n.add("one new image on a node with a list of 50: part of the time", took[0].Seconds()/took[1].Seconds(), "times", "")
		return nil
	})
}

// changingNode is a node, and the images that it has.
type changingNode struct {
	*bench
	installed bool
	count     int
}

// image is the name of one of those that bring deploys.
func (n *changingNode) image(i int) string {
	return fmt.Sprintf("%s/%s/app-%d:v1", n.registry.Addr(), changeNamespace, i)
}

// bring deploys so many more images, and returns when all are there.
func (n *changingNode) bring(ctx context.Context, count int) error {
	first := n.count
	for n.count < first+count {
		if _, err := n.push(ctx, fmt.Sprintf("%s/app-%d:v1", changeNamespace, n.count), changeSize, uint64(1000+n.count)); err != nil {
			return err
		}
		n.count++
	}
	for i := first; i < n.count; i++ {
		if err := n.deploy(ctx, changeNamespace, fmt.Sprint("app-", i), n.image(i)); err != nil {
			return err
		}
	}
	return n.waitEverywhere(ctx, 1, n.count)
}

// measureChange brings a list of fifty, and measures a change of it, from the moment when the new pod is there to when it is
// ready. With the change before, all is held that may be.
func (n *changingNode) measureChange(ctx context.Context, setting string) (took, burnt time.Duration, err error) {
	if !n.installed {
		err = lab.Install(ctx, n.Cluster, n.registry.Addr(), "--set", setting, "--set", "config.maxImagesPerNode=60")
	} else {
		err = lab.Helm(ctx, n.Cluster, "upgrade", system, lab.Source("deploy/chart"), "--namespace", system, "--reuse-values", "--wait", "--set", setting)
	}
	if err != nil {
		return 0, 0, err
	}
	n.installed = true
	if err := n.bring(ctx, max(1, 48-n.count)); err != nil {
		return 0, 0, err
	}
	if err := n.bring(ctx, 1); err != nil {
		return 0, 0, err
	}
	if err := sleep(ctx, 2*settleTime); err != nil {
		return 0, 0, err
	}
	before, err := n.burntOnNodes()
	if err != nil {
		return 0, 0, err
	}
	if err := n.bring(ctx, 1); err != nil {
		return 0, 0, err
	}
	if took, err = n.podTook(ctx); err != nil {
		return 0, 0, err
	}
	if err := sleep(ctx, settleTime); err != nil {
		return 0, 0, err
	}
	after, err := n.burntOnNodes()
	return took, after - before, err
}

// podTook is how long the newest prepull pod took from its creation until it was ready.
func (n *changingNode) podTook(ctx context.Context) (took time.Duration, err error) {
	err = n.poll(ctx, "the prepull pod to be ready", joinTimeout, func() (bool, error) {
		pod, err := n.prepullPod(ctx)
		if err != nil || !lab.PodRunning(pod) {
			return false, err
		}
		for _, c := range pod.Status.Conditions {
			if c.Type == corev1.PodReady {
				took = c.LastTransitionTime.Sub(pod.CreationTimestamp.Time)
			}
		}
		return true, nil
	})
	return took, err
}

// prepullPod is the only one, or an empty one while there are two, or none.
func (n *changingNode) prepullPod(ctx context.Context) (*corev1.Pod, error) {
	pods, err := n.Client().CoreV1().Pods(system).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=prepull"})
	if err != nil || len(pods.Items) != 1 {
		return &corev1.Pod{}, err
	}
	return &pods.Items[0], nil
}

// burntOnNodes is the processor time of what runs on the nodes.
func (n *changingNode) burntOnNodes() (time.Duration, error) {
	programs, err := cluster.Burnt(n.Dir())
	if err != nil {
		return 0, err
	}
	var all time.Duration
	for program, used := range programs {
		if !slices.Contains(controlPrograms, program) {
			all += used
		}
	}
	return all, nil
}
