package measure

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/distribution/reference"
	corev1 "k8s.io/api/core/v1"
)

// reportedImages is how many images the status of a node names at most (nodeStatusMaxImages of the kubelet).
const reportedImages = 50

// usable returns an error that says why a pod of the experiment cannot run on a node.
func usable(node *corev1.Node) error {
	if os := node.Labels[corev1.LabelOSStable]; os != "" && os != "linux" {
		return fmt.Errorf("node %s runs %s: only Linux nodes can be measured", node.Name, os)
	}
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue {
			return nil
		}
		if c.Type == corev1.NodeReady {
			return fmt.Errorf("node %s is not ready: %s", node.Name, c.Message)
		}
	}
	return fmt.Errorf("node %s is not ready: its kubelet has not said so", node.Name)
}

// hasImage tells whether a node is known to have an image. False means little on a node that has more images than it reports:
// what counts is what the kubelet says when a pod starts.
func hasImage(node *corev1.Node, prepullPods []corev1.Pod, image string) bool {
	full := normal(image)
	for _, i := range node.Status.Images {
		if slices.ContainsFunc(i.Names, func(name string) bool { return normal(name) == full }) {
			return true
		}
	}
	for i := range prepullPods {
		if prepullPods[i].Spec.NodeName == node.Name && hasRun(&prepullPods[i], image) {
			return true
		}
	}
	return false
}

// hasRun tells whether an init container of a pod ended in an image.
func hasRun(pod *corev1.Pod, image string) bool {
	for _, c := range pod.Spec.InitContainers {
		if normal(c.Image) != normal(image) {
			continue
		}
		for _, s := range pod.Status.InitContainerStatuses {
			if s.Name == c.Name && s.State.Terminated != nil && s.State.Terminated.ExitCode == 0 {
				return true
			}
		}
	}
	return false
}

// normal is the name of an image as nodes report it: with its registry and its tag.
func normal(image string) string {
	named, err := reference.ParseDockerRef(image)
	if err != nil {
		return image
	}
	return named.String()
}

// coldTries is on how many nodes a cold start is looked for.
const coldTries = 3

// candidates are the nodes on which to look for a cold start, the best first: those that new pods may go to, and that report
// everything they have. If every node is known to have the image, it is one of them.
func candidates(nodes []corev1.Node, prepullPods []corev1.Pod, image string) []string {
	doubts := func(n corev1.Node) int {
		d := 0
		if n.Spec.Unschedulable || slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Effect != corev1.TaintEffectPreferNoSchedule }) {
			d += 2
		}
		if len(n.Status.Images) >= reportedImages {
			d++
		}
		return d
	}
	slices.SortFunc(nodes, func(a, b corev1.Node) int {
		return cmp.Or(cmp.Compare(doubts(a), doubts(b)), cmp.Compare(a.Name, b.Name))
	})
	var lack []string
	for i := range nodes {
		if !hasImage(&nodes[i], prepullPods, image) {
			lack = append(lack, nodes[i].Name)
		}
	}
	if len(lack) == 0 && len(nodes) > 0 {
		return []string{nodes[0].Name}
	}
	return lack[:min(coldTries, len(lack))]
}
