package prepull

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// warmth is what some nodes of a class and their prepull pods tell about images.
type warmth struct {
	// at are the positions of the nodes.
	at map[string]int

	// images by their names.
	images map[string]*imageWarmth

	// broken are the nodes whose prepull pod fails before the first image, because of the noop image or the runtime.
	broken map[string]failure

	// next is when a pull that is under way will have taken too long; zero if there is none.
	next time.Time
}

// imageWarmth is how far one image is. What is true of most nodes is kept by their position, the rest by their name; all
// of it is nil while there is nothing to tell.
type imageWarmth struct {
	// at are the positions of the nodes that count, the same for all images of a class.
	at map[string]int

	// same is another spelling of the same image, nil if there is none.
	same *imageWarmth

	// ran is, one more than, the whole seconds that a node took until the image was there, if it has run a container of it
	// in a prepull pod that still exists; the kubelet does not delete the image. 0 if it has not.
	ran []int32

	// present are nodes that list the image, for whatever reason it is there.
	present []bool

	// pulling are nodes that are at it now.
	pulling map[string]bool

	// failed are nodes whose list is held up by it.
	failed map[string]failure

	// size in bytes, the largest that a node reports; 0 if none does.
	size int64
}

// setRan notes that a node has run the image, which took a time to be there.
func (w *imageWarmth) setRan(node string, took time.Duration) {
	if i, counts := w.at[node]; counts {
		if w.ran == nil {
			w.ran = make([]int32, len(w.at))
		}
		w.ran[i] = int32(took.Seconds()) + 1
	}
}

// setPresent notes that the node at a position lists the image.
func (w *imageWarmth) setPresent(i int) {
	if w.present == nil {
		w.present = make([]bool, len(w.at))
	}
	w.present[i] = true
}

// pulled tells whether a node has run the image, and how long it took until it was there.
func (w *imageWarmth) pulled(node string) (time.Duration, bool) {
	i, counts := w.at[node]
	if !counts || w.ran == nil || w.ran[i] == 0 {
		return 0, false
	}
	return time.Duration(w.ran[i]-1) * time.Second, true
}

// lists tells whether a node lists the image.
func (w *imageWarmth) lists(node string) bool {
	i, counts := w.at[node]
	return counts && w.present != nil && w.present[i]
}

// there tells whether the node at a position has run or lists the image.
func (w *imageWarmth) there(i int) bool {
	return w.ran != nil && w.ran[i] > 0 || w.present != nil && w.present[i]
}

// has tells whether a node has the image and is not in trouble with it.
func (w *imageWarmth) has(node string) bool {
	if _, failed := w.failed[node]; failed {
		return false
	}
	_, ran := w.pulled(node)
	return ran || w.lists(node)
}

// ready counts the nodes that have the image and are not in trouble with it.
func (w *imageWarmth) ready() int {
	n := 0
	for i := range max(len(w.ran), len(w.present)) {
		if w.there(i) {
			n++
		}
	}
	for node := range w.failed {
		if _, ran := w.pulled(node); ran || w.lists(node) {
			n--
		}
	}
	return n
}

// holders counts the nodes that have run the image and are not in trouble with it.
func (w *imageWarmth) holders() int {
	n := 0
	for _, ran := range w.ran {
		if ran > 0 {
			n++
		}
	}
	for node := range w.failed {
		if _, ran := w.pulled(node); ran {
			n--
		}
	}
	return n
}

// slowest is the longest time that a node took for the image.
func (w *imageWarmth) slowest() time.Duration {
	if len(w.ran) == 0 {
		return 0
	}
	return time.Duration(max(1, slices.Max(w.ran))-1) * time.Second
}

// observedImage is an image to look for: the name of its init container, and the name under which nodes report it.
type observedImage struct{ Name, Canonical string }

// observe reads how far every image is on nodes of a class. An init container that ended well
// proves that its image is there, in pods of an old list too. A pull that takes longer than the deadline while other
// images wait behind it counts as failed: a registry that hangs gives no other sign.
func observe(nodes []*corev1.Node, images []observedImage, pods []*corev1.Pod, deadline time.Duration, now time.Time) *warmth {
	at := make(map[string]int, len(nodes))
	for i, n := range nodes {
		at[n.Name] = i
	}
	w := &warmth{at: at, images: make(map[string]*imageWarmth, len(images)), broken: map[string]failure{}}
	all := make([]imageWarmth, len(images))
	byCanonical := make(map[string]*imageWarmth, len(images))
	for i, image := range images {
		all[i] = imageWarmth{at: at, same: byCanonical[image.Canonical]}
		w.images[image.Name] = &all[i]
		byCanonical[image.Canonical] = &all[i]
	}
	for i, n := range nodes {
		readNode(n, i, byCanonical)
	}
	for _, pod := range pods {
		if _, counts := at[pod.Spec.NodeName]; counts {
			w.readPod(pod, deadline, now)
		}
	}
	return w
}

// put makes the map if there is none.
func put[V any](m *map[string]V, node string, value V) {
	if *m == nil {
		*m = map[string]V{}
	}
	(*m)[node] = value
}

// readNode takes what a node lists as present. It lists its 50 largest images, so one that is missing there may be
// present all the same.
func readNode(n *corev1.Node, position int, byCanonical map[string]*imageWarmth) {
	for _, image := range n.Status.Images {
		for _, name := range image.Names {
			for i := byCanonical[name]; i != nil; i = i.same {
				i.setPresent(position)
				i.size = max(i.size, image.SizeBytes)
			}
		}
	}
}

// readPod goes through the init containers of a prepull pod, which run one after the other, up to the one that is not done.
func (w *warmth) readPod(pod *corev1.Pod, deadline time.Duration, now time.Time) {
	node, statuses := pod.Spec.NodeName, pod.Status.InitContainerStatuses
	var previous time.Time
	for i := range statuses {
		s := &statuses[i]
		image := w.images[s.Name]
		if t := s.State.Terminated; ranWell(s) {
			if image != nil {
				image.setRan(node, pullTime(previous, t))
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
		late := frontSince(pod, previous).Add(deadline)
		if failed = !now.Before(late); failed {
			f = failure{cause: causeDeadline, settled: true, message: fmt.Sprintf("the pull has not ended within %v", deadline)}
		} else if w.next.IsZero() || late.Before(w.next) {
			w.next = late
		}
	}
	f.since, f.began = pod.CreationTimestamp.Time, frontSince(pod, previous)
	image := w.images[statuses[i].Name]
	switch {
	case image != nil && failed:
		put(&image.failed, node, f)
	case image != nil:
		put(&image.pulling, node, true)
	case failed && i == 0:
		w.broken[node] = f
	}
}

// frontSince is when a pod came to the init container that it is at, by the clock of the API server: the clock of a node
// may be wrong. previous is when the one before it ended, by the clock of the node, as is the start of the pod.
func frontSince(pod *corev1.Pod, previous time.Time) time.Time {
	since := scheduledAt(pod)
	if start := pod.Status.StartTime; start != nil && previous.After(start.Time) {
		since = since.Add(previous.Sub(start.Time))
	}
	return since
}

// scheduledAt is when a pod got its node, or was created if nothing tells.
func scheduledAt(pod *corev1.Pod) time.Time {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionTrue {
			return c.LastTransitionTime.Time
		}
	}
	return pod.CreationTimestamp.Time
}

// pullTime is how long a container waited for its image, from the end of the one before it. It contains a second or
// so in which the kubelet notices that end.
func pullTime(previous time.Time, t *corev1.ContainerStateTerminated) time.Duration {
	if previous.IsZero() || t.StartedAt.Time.Before(previous) {
		return 0
	}
	return t.StartedAt.Sub(previous)
}
