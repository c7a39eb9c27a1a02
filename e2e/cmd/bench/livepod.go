package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/e2e/cluster"
	"github.com/kube-prepull/kube-prepull/e2e/lab"
)

const (
	slowRegistry = 100e6 // bits per second
	listedSize   = 50 << 20
	liveSize     = 20 << 20
	listedImages = 6
)

// livePod measures on a real node what a pod of another image waits while the node's prepull pod works through a list
// on a slow registry: at most for the one pull in flight.
func livePod(ctx context.Context, dir string) ([]result, error) {
	return onNodes(ctx, dir, []cluster.Node{{Name: "node-1"}}, func(ctx context.Context, b *bench) error {
		if err := lab.Install(ctx, b.Cluster, b.registry.Addr()); err != nil {
			return err
		}
		return b.livePod(ctx)
	})
}

func (b *bench) livePod(ctx context.Context) error {
	b.registry.SetBandwidth(slowRegistry)
	alone, err := b.push(ctx, "live/alone:v1", liveSize, 1)
	if err != nil {
		return err
	}
	without, err := b.startLive(ctx, "alone", alone)
	if err != nil {
		return err
	}
	b.add("live pod of 20 MB at 100 Mbit/s: nothing else pulls", without.Seconds(), "s", "")

	if err := b.namespace(ctx, "listed"); err != nil {
		return err
	}
	for i := range listedImages {
		image, err := b.push(ctx, fmt.Sprintf("live/listed-%d:v1", i), listedSize, uint64(10+i))
		if err != nil {
			return err
		}
		if err := b.deploy(ctx, "listed", fmt.Sprint("listed-", i), image); err != nil {
			return err
		}
	}
	if err := b.waitPulling(ctx); err != nil {
		return err
	}
	live, err := b.push(ctx, "live/live:v1", liveSize, 2)
	if err != nil {
		return err
	}
	with, err := b.startLive(ctx, "live", live)
	if err != nil {
		return err
	}
	onePull := float64(listedSize) * 8 / slowRegistry
	b.add("live pod of 20 MB at 100 Mbit/s: the prepull pod is at 6 images of 50 MB", with.Seconds(), "s",
		fmt.Sprintf("< %.1f (one pull of ours)", without.Seconds()+onePull+1))
	return nil
}

// startLive starts a pod outside of opted-in namespaces, and returns how long it takes until it runs.
func (b *bench) startLive(ctx context.Context, name, image string) (time.Duration, error) {
	start := time.Now()
	_, err := b.Client().CoreV1().Pods("default").Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.PodSpec{NodeName: "node-1", Containers: []corev1.Container{{Name: "app", Image: image}}},
	}, metav1.CreateOptions{})
	if err != nil {
		return 0, err
	}
	for deadline := start.Add(5 * time.Minute); time.Now().Before(deadline) && ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
		pod, err := b.Client().CoreV1().Pods("default").Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return 0, err
		}
		if pod.Status.Phase == corev1.PodRunning {
			return time.Since(start), nil
		}
	}
	return 0, fmt.Errorf("pod %s does not run", name)
}

// waitPulling returns when the prepull pod has its first image, and pulls the next ones.
func (b *bench) waitPulling(ctx context.Context) error {
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline) && ctx.Err() == nil; time.Sleep(100 * time.Millisecond) {
		pods, err := b.Client().CoreV1().Pods(system).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=prepull"})
		if err != nil {
			return err
		}
		for _, pod := range pods.Items {
			done := 0
			for _, s := range pod.Status.InitContainerStatuses {
				if s.State.Terminated != nil {
					done++
				}
			}
			if len(pod.Spec.InitContainers) == listedImages+1 && done >= 2 {
				return nil
			}
		}
	}
	return errors.New("the prepull pod does not pull the images")
}
