package prepull

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// warmth is what the nodes of a class and their prepull pods tell about images. It speaks only of nodes that can be
// expected to pull now.
type warmth struct {
	// images by the name of their candidate.
	images map[string]*imageWarmth

	// broken are the nodes whose prepull pod fails before the first image, because of the noop image or the runtime.
	broken map[string]failure

	// next is when a pull that is under way will have taken too long; zero if there is none.
	next time.Time
}

// imageWarmth is how far one image is. All maps are by node, and nil while they are empty.
type imageWarmth struct {
	// ran are nodes that have run a container of the image in a prepull pod that still exists, and how long it took until
	// it was there, in the whole seconds that the kubelet tells. The kubelet does not delete the image.
	ran map[string]time.Duration

	// present are nodes that list the image, for whatever reason it is there.
	present map[string]bool

	// pulling are nodes that are at it now.
	pulling map[string]bool

	// failed are nodes whose list is held up by it.
	failed map[string]failure

	// size in bytes, the largest that a node reports; 0 if none does.
	size int64
}

// has tells whether a node has the image and is not in trouble with it.
func (w *imageWarmth) has(node string) bool {
	_, failed := w.failed[node]
	_, ran := w.ran[node]
	return !failed && (ran || w.present[node])
}

// holders counts the nodes that have run the image and are not in trouble with it.
func (w *imageWarmth) holders() int {
	n := 0
	for node := range w.ran {
		if _, failed := w.failed[node]; !failed {
			n++
		}
	}
	return n
}

// held tells whether any node has the image, whatever brought it there.
func (w *imageWarmth) held() bool {
	for node := range w.present {
		if w.has(node) {
			return true
		}
	}
	return w.holders() > 0
}

// observeClass reads how far every candidate is on the waiting nodes of a class. An init container that ended well
// proves that its image is there, in pods of an old list too. A pull that takes longer than the deadline while other
// images wait behind it counts as failed: a registry that hangs gives no other sign.
func observeClass(c *nodeClass, candidates []*candidate, pods []*corev1.Pod, deadline time.Duration, now time.Time) *warmth {
	w := &warmth{images: make(map[string]*imageWarmth, len(candidates)), broken: map[string]failure{}}
	byCanonical := make(map[string][]*imageWarmth, len(candidates))
	for _, image := range candidates {
		i := &imageWarmth{}
		w.images[image.name] = i
		byCanonical[image.canonical] = append(byCanonical[image.canonical], i)
	}
	waiting := make(map[string]bool, len(c.waiting))
	for _, n := range c.waiting {
		waiting[n.Name] = true
		readNode(n, byCanonical, len(c.waiting))
	}
	for _, pod := range pods {
		if waiting[pod.Spec.NodeName] {
			w.readPod(pod, len(waiting), deadline, now)
		}
	}
	return w
}

// put makes the map if there is none, for as many nodes as there are: most images are on no node or on all.
func put[V any](m *map[string]V, node string, value V, nodes int) {
	if *m == nil {
		*m = make(map[string]V, nodes)
	}
	(*m)[node] = value
}

// readNode takes what a node lists as present. It lists its 50 largest images, so one that is missing there may be
// present all the same.
func readNode(n *corev1.Node, byCanonical map[string][]*imageWarmth, nodes int) {
	for _, image := range n.Status.Images {
		for _, name := range image.Names {
			for _, i := range byCanonical[name] {
				put(&i.present, n.Name, true, nodes)
				i.size = max(i.size, image.SizeBytes)
			}
		}
	}
}

// readPod goes through the init containers of a prepull pod, which run one after the other, up to the one that is not done.
func (w *warmth) readPod(pod *corev1.Pod, nodes int, deadline time.Duration, now time.Time) {
	node, statuses := pod.Spec.NodeName, pod.Status.InitContainerStatuses
	var previous time.Time
	for i := range statuses {
		s := &statuses[i]
		image := w.images[s.Name]
		if t := s.State.Terminated; ranWell(s) {
			if image != nil {
				put(&image.ran, node, pullTime(previous, t), nodes)
			}
			previous = t.FinishedAt.Time
			continue
		}
		if pod.DeletionTimestamp == nil {
			w.readFront(pod, i, previous, deadline, now)
		}
		return
	}
}

// readFront takes in the init container that a node is at.
func (w *warmth) readFront(pod *corev1.Pod, i int, previous time.Time, deadline time.Duration, now time.Time) {
	node, statuses := pod.Spec.NodeName, pod.Status.InitContainerStatuses
	f, failed := failureOf(&statuses[i])
	if !failed && !previous.IsZero() && i < len(statuses)-1 {
		late := previous.Add(deadline)
		if failed = !now.Before(late); failed {
			f = failure{cause: causeDeadline, settled: true, message: fmt.Sprintf("the pull has not ended within %v", deadline)}
		} else if w.next.IsZero() || late.Before(w.next) {
			w.next = late
		}
	}
	f.since = pod.CreationTimestamp.Time
	image := w.images[statuses[i].Name]
	switch {
	case image != nil && failed:
		put(&image.failed, node, f, 1)
	case image != nil:
		put(&image.pulling, node, true, 1)
	case failed && i == 0:
		w.broken[node] = f
	}
}

// pullTime is how long a container waited for its image, from the end of the one before it. It contains a second or
// so in which the kubelet notices that end.
func pullTime(previous time.Time, t *corev1.ContainerStateTerminated) time.Duration {
	if previous.IsZero() || t.StartedAt.Time.Before(previous) {
		return 0
	}
	return t.StartedAt.Sub(previous)
}
