package lab

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ImagesOf are the images that a prepull pod brings, and those that it holds, by the names of their containers and volumes.
func ImagesOf(spec *corev1.PodSpec) map[string]string {
	images := map[string]string{}
	for _, c := range spec.InitContainers[1:] {
		images[c.Name] = c.Image
	}
	for _, v := range spec.Volumes {
		if v.Image != nil {
			images[v.Name] = v.Image.Reference
		}
	}
	return images
}

// PullsImage says whether a prepull pod brings an image, or holds it.
func PullsImage(spec *corev1.PodSpec, image string) bool {
	return slices.Contains(slices.Collect(maps.Values(ImagesOf(spec))), image)
}

// HoldsImage says whether a prepull pod holds an image as an image volume.
func HoldsImage(spec *corev1.PodSpec, image string) bool {
	return slices.ContainsFunc(spec.Volumes, func(v corev1.Volume) bool { return v.Image != nil && v.Image.Reference == image })
}

// WaitHeld waits until the only prepull DaemonSet holds these images as image volumes, and no others. In clusters that are too old
// for image volumes, init containers hold them.
func (p *Product) WaitHeld(t *testing.T, images ...string) {
	t.Helper()
	want, volumes := slices.Sorted(slices.Values(images)), Kubernetes(t) >= ImageVolumes
	Eventually(t, "images to be held", func() error {
		var held []string
		for _, ds := range p.DaemonSets(t) {
			for image := range maps.Values(ImagesOf(&ds.Spec.Template.Spec)) {
				if HoldsImage(&ds.Spec.Template.Spec, image) == volumes {
					held = append(held, image)
				}
			}
		}
		if slices.Sort(held); !slices.Equal(held, want) {
			return fmt.Errorf("held are %q, want %q", held, want)
		}
		return nil
	})
}

// OnNode says whether a node's prepull pod has run an image, or has mounted it.
func (p *Product) OnNode(t *testing.T, image, node string) bool {
	t.Helper()
	for _, pod := range p.PrepullPods(t) {
		if pod.Spec.NodeName != node {
			continue
		}
		if HoldsImage(&pod.Spec, image) && slices.ContainsFunc(pod.Status.ContainerStatuses, func(s corev1.ContainerStatus) bool { return s.State.Running != nil }) {
			return true
		}
		i := slices.IndexFunc(pod.Spec.InitContainers, func(c corev1.Container) bool { return c.Image == image })
		if i < 0 {
			continue
		}
		for _, s := range pod.Status.InitContainerStatuses {
			if s.Name == pod.Spec.InitContainers[i].Name && s.State.Terminated != nil && s.State.Terminated.ExitCode == 0 {
				return true
			}
		}
	}
	return false
}

// WaitOnNodes waits until the prepull pods of nodes have run an image.
func (p *Product) WaitOnNodes(t *testing.T, image string, nodes ...string) {
	t.Helper()
	Eventually(t, fmt.Sprintf("%s to be on %v", image, nodes), func() error {
		for _, node := range nodes {
			if !p.OnNode(t, image, node) {
				return errors.New("it is not on " + node)
			}
		}
		return nil
	})
}

// PrepullPods are the pods of all prepull DaemonSets.
func (p *Product) PrepullPods(t *testing.T) []corev1.Pod {
	t.Helper()
	pods, err := p.Client().CoreV1().Pods(System).List(context.Background(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=prepull"})
	if err != nil {
		t.Fatal(err)
	}
	return pods.Items
}
