package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// shapes sorts the nodes into twelve shapes, and brings one more image to all of them.
func (b *bench) shapes(ctx context.Context) error {
	if err := b.namespace(ctx, "shapes"); err != nil {
		return err
	}
	seen, err := b.watchLists(ctx)
	if err != nil {
		return err
	}
	defer seen.stop()
	start := time.Now()
	if err := b.labelNodes(ctx); err != nil {
		return err
	}
	for _, key := range []string{"zone", "pool", "tier"} {
		d := benchDeployment(key, "bench.invalid/shapes-"+key+":v1")
		d.Spec.Template.Spec.NodeSelector = map[string]string{key: "0"}
		if _, err := b.Client().AppsV1().Deployments("shapes").Create(ctx, d, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	settled, err := b.settle(ctx, seen)
	if err != nil {
		return err
	}
	lists, err := b.Client().AppsV1().DaemonSets(system).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	b.add("12 shapes: DaemonSets", float64(len(lists.Items)), "DaemonSets", "12")
	b.add("12 shapes: time to settle after three workloads name the labels", settled.Sub(start).Seconds(), "s", "")

	const image = "bench.invalid/everywhere:v1"
	revisions := seen.revisions()
	start = time.Now()
	if err := b.deploy(ctx, "shapes", "everywhere", image); err != nil {
		return err
	}
	at, err := seen.waitAll(ctx, image, len(lists.Items))
	if err != nil {
		return err
	}
	b.add("12 shapes: new image: admission to the last DaemonSet", at.Sub(start).Seconds(), "s", "< 3")
	if _, err := b.settle(ctx, seen); err != nil {
		return err
	}
	b.add("12 shapes: new image: DaemonSet writes", float64(seen.revisions()-revisions), "writes", "12")
	return b.memoryOfFew(ctx)
}

// labelNodes gives the nodes three zones, two pools and two tiers.
func (b *bench) labelNodes(ctx context.Context) error {
	nodes, err := b.Client().CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(20)
	for i := range nodes.Items {
		group.Go(func() error {
			patch := fmt.Sprintf(`{"metadata":{"labels":{"zone":"%d","pool":"%d","tier":"%d"}}}`, i%3, i/3%2, i/6%2)
			_, err := b.Client().CoreV1().Nodes().Patch(groupCtx, nodes.Items[i].Name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("labelling nodes: %w", err)
	}
	return nil
}

// benchDeployment has no pods: what is measured is ours, not the scheduler's.
func benchDeployment(name, image string) *appsv1.Deployment {
	var none int32
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: &none,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					Containers:  []corev1.Container{{Name: "app", Image: image}},
					Tolerations: []corev1.Toleration{{Key: fakeTaint.Key, Operator: corev1.TolerationOpExists}},
				},
			},
		},
	}
}
