package cluster

import (
	"context"
	"fmt"
	"maps"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	nodefast "sigs.k8s.io/kwok/kustomize/stage/node/fast"
	podfast "sigs.k8s.io/kwok/kustomize/stage/pod/fast"
)

// FakeNodes are nodes that KWOK pretends to run: pods on them become Ready, and nothing is pulled.
type FakeNodes struct {
	// Prefix of their names; a number follows.
	Prefix string
	// Count is how many.
	Count int
	// Labels are added to kubernetes.io/os, kubernetes.io/arch and kubernetes.io/hostname, and win over them.
	Labels map[string]string
	// Taints are on each of them.
	Taints []corev1.Taint
	// NodeInfo is what they report of themselves; KWOK's own versions where it says nothing.
	NodeInfo corev1.NodeSystemInfo
	// InitContainer is how long each init container of a pod takes, and ImageVolumes how long all image volumes of a pod take
	// together. The first nodes of a cluster decide for all.
	InitContainer, ImageVolumes time.Duration
}

// fakeAnnotation tells KWOK which nodes are its own.
const fakeAnnotation = "kwok.x-k8s.io/node"

// fakeNodeTime is how much longer a fake node is waited for where there are many.
const fakeNodeTime = 50 * time.Millisecond

// AddFakeNodes returns when the nodes are Ready.
func (c *Cluster) AddFakeNodes(ctx context.Context, fakes FakeNodes) error {
	if err := c.startKWOK(ctx, podReady(fakes.InitContainer, fakes.ImageVolumes)); err != nil {
		return fmt.Errorf("starting KWOK: %w", err)
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(20)
	for i := range fakes.Count {
		group.Go(func() error {
			_, err := c.client.CoreV1().Nodes().Create(groupCtx, fakeNode(fakes, i), metav1.CreateOptions{})
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("adding fake nodes: %w", err)
	}
	allReady := func(ctx context.Context) (bool, error) {
		nodes, err := c.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{ResourceVersion: "0"})
		if err != nil {
			return false, fmt.Errorf("listing nodes: %w", err)
		}
		ready := 0
		for i := range nodes.Items {
			if strings.HasPrefix(nodes.Items[i].Name, fakes.Prefix) && nodeReady(&nodes.Items[i]) {
				ready++
			}
		}
		return ready >= fakes.Count, c.failure(ctx, "")
	}
	timeout := 3*time.Minute + time.Duration(fakes.Count)*fakeNodeTime
	if err := poll(ctx, timeout, 200*time.Millisecond, allReady); err != nil {
		return fmt.Errorf("waiting for fake nodes to be Ready: %w; the end of KWOK's log:\n%s", err, c.Log("kwok"))
	}
	return c.waitDefaultServiceAccount(ctx)
}

// startKWOK starts it unless it runs already: its configuration is written first, and only once.
func (c *Cluster) startKWOK(ctx context.Context, podReady string) error {
	path := c.state.path("kwok.yaml")
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	stages := []string{nodefast.DefaultNodeInit, podReady, podfast.DefaultPodComplete, podfast.DefaultPodDelete}
	if c.state.Options.Large {
		stages = append(stages, largeKWOK)
	}
	if err := os.WriteFile(path, []byte(strings.Join(stages, "\n---\n")), 0o644); err != nil {
		return err
	}
	return c.Run(ctx, c.state.sized(Process{Name: "kwok", Path: c.state.program("kwok"), Args: []string{
		"--kubeconfig=" + c.Kubeconfig(), "--config=" + path,
		"--manage-all-nodes=false", "--manage-nodes-with-annotation-selector=" + fakeAnnotation + "=fake",
		"--node-lease-duration-seconds=40",
	}}))
}

// podReady is KWOK's stage in which a pod becomes Ready, after its init containers and image volumes have taken their time.
func podReady(initContainer, imageVolumes time.Duration) string {
	if initContainer+imageVolumes == 0 {
		return podfast.DefaultPodReady
	}
	const delay = `
  delay:
    durationFrom:
      expressionFrom: '(((.spec.initContainers // []) | length) * %d + (if ([.spec.volumes[]? | select(.image != null)] | length) > 0 then %d else 0 end) | tostring) + "ms"'
  next:
`
	return strings.Replace(podfast.DefaultPodReady, "\n  next:\n", fmt.Sprintf(delay, initContainer.Milliseconds(), imageVolumes.Milliseconds()), 1)
}

func fakeNode(fakes FakeNodes, i int) *corev1.Node {
	name := fmt.Sprintf("%s%d", fakes.Prefix, i)
	labels := map[string]string{
		corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64", corev1.LabelHostname: name, "type": "kwok",
	}
	maps.Copy(labels, fakes.Labels)
	capacity := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("32"), corev1.ResourceMemory: resource.MustParse("256Gi"),
		corev1.ResourcePods: resource.MustParse("110"), corev1.ResourceEphemeralStorage: resource.MustParse("100Gi"),
	}
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels, Annotations: map[string]string{fakeAnnotation: "fake"}},
		Spec:       corev1.NodeSpec{Taints: fakes.Taints},
		Status:     corev1.NodeStatus{Capacity: capacity, Allocatable: capacity, NodeInfo: fakes.NodeInfo},
	}
}
