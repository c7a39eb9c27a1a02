// Package warmth reads from prepull pods, events and nodes how far images are on them, and why a pull fails.
package warmth

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// Warmth is what some nodes of a class and their prepull pods tell about images.
type Warmth struct {
	// At are the positions of the nodes.
	At map[string]int

	// Images by their names.
	Images map[string]*Image

	// Broken are the nodes whose prepull pod fails before the first image, because of the noop image or the runtime, or which
	// have no room for it.
	Broken map[string]Failure

	// brokenLanes are the same by the label of the lane of the pod: the others of a node go on.
	brokenLanes map[string]map[string]Failure

	// settled are the nodes with a prepull pod that is ready in each lane, by their positions.
	settled []bool

	// Next is when a pull that is under way will have taken too long; zero if there is none.
	Next time.Time
}

// Image is how far one image is. What is true of most nodes is kept by their position, the rest by their name; all
// of it is nil while there is nothing to tell.
type Image struct {
	// At are the positions of the nodes that count, the same for all images of a class.
	At map[string]int

	// same is another spelling of the same image, nil if there is none.
	same *Image

	// settled are the nodes whose prepull pods are ready, the same for all images of a class.
	settled []bool

	// Ran is, one more than, the whole seconds that a node took until the image was there, if it has run a container of it
	// in a prepull pod that still exists, or mounted it there; the kubelet does not delete the image. 0 if it has not.
	Ran []int32

	// present are nodes that list the image, for whatever reason it is there.
	present []bool

	// Pulling are nodes that are at it now.
	Pulling map[string]bool

	// Failed are nodes whose list is held up by it.
	Failed map[string]Failure

	// Size in bytes, the largest that a node reports; 0 if none does.
	Size int64
}

// SetRan notes that the node at a position has run the image, or holds it, and that it took a time to be there: of several the
// longest.
func (w *Image) SetRan(i int, took time.Duration) {
	if w.Ran == nil {
		w.Ran = make([]int32, len(w.At))
	}
	w.Ran[i] = max(w.Ran[i], int32(took/time.Second)+1)
}

// SetPresent notes that the node at a position lists the image.
func (w *Image) SetPresent(i int) {
	if w.present == nil {
		w.present = make([]bool, len(w.At))
	}
	w.present[i] = true
}

// Proven tells whether all nodes whose prepull pod is ready have the image, and there is one. A node that has joined a moment
// ago, or has no room for the pod, says nothing about the image.
func (w *Image) Proven() bool {
	proven := false
	for i, settled := range w.settled {
		if settled && !w.There(i) {
			return false
		}
		proven = proven || settled
	}
	return proven && len(w.Failed) == 0
}

// Blocks tells whether the image keeps others from a node.
func (w *Image) Blocks() bool {
	for _, f := range w.Failed {
		if !f.Alone {
			return true
		}
	}
	return false
}

// Blocked tells whether any image keeps others from a node.
func (w *Warmth) Blocked() bool {
	for _, image := range w.Images {
		if image.Blocks() {
			return true
		}
	}
	return false
}

// Pulled tells whether a node has run the image, and how long it took until it was there.
func (w *Image) Pulled(node string) (time.Duration, bool) {
	i, counts := w.At[node]
	if !counts || w.Ran == nil || w.Ran[i] == 0 {
		return 0, false
	}
	return time.Duration(w.Ran[i]-1) * time.Second, true
}

// Lists tells whether a node lists the image.
func (w *Image) Lists(node string) bool {
	i, counts := w.At[node]
	return counts && w.present != nil && w.present[i]
}

// There tells whether the node at a position has run or lists the image.
func (w *Image) There(i int) bool {
	return w.Ran != nil && w.Ran[i] > 0 || w.present != nil && w.present[i]
}

// Has tells whether a node has the image and is not in trouble with it.
func (w *Image) Has(node string) bool {
	if _, failed := w.Failed[node]; failed {
		return false
	}
	_, ran := w.Pulled(node)
	return ran || w.Lists(node)
}

// Ready counts the nodes that have the image and are not in trouble with it.
func (w *Image) Ready() int {
	n := 0
	for i := range max(len(w.Ran), len(w.present)) {
		if w.There(i) {
			n++
		}
	}
	for node := range w.Failed {
		if _, ran := w.Pulled(node); ran || w.Lists(node) {
			n--
		}
	}
	return n
}

// Holders counts the nodes that have run the image and are not in trouble with it.
func (w *Image) Holders() int {
	n := 0
	for _, ran := range w.Ran {
		if ran > 0 {
			n++
		}
	}
	for node := range w.Failed {
		if _, ran := w.Pulled(node); ran {
			n--
		}
	}
	return n
}

// Slowest is the longest time that a node took for the image.
func (w *Image) Slowest() time.Duration {
	if len(w.Ran) == 0 {
		return 0
	}
	return time.Duration(max(1, slices.Max(w.Ran))-1) * time.Second
}

// ImageName is an image to look for: the name of its init container, the name under which nodes report it, and the digest of
// what is in it, empty if that is not known.
type ImageName struct{ Name, Canonical, Digest string }

// Observe reads how far every image is on nodes of a class. An init container that ended well
// proves that its image is there, and a waiting container that runs proves those that it holds, in pods of an old list too. A pull that takes longer than the deadline while other
// images wait behind it counts as failed: a registry that hangs gives no other sign.
func Observe(nodes []*corev1.Node, images []ImageName, pods []*corev1.Pod, deadline time.Duration, now time.Time) *Warmth {
	at := make(map[string]int, len(nodes))
	for i, n := range nodes {
		at[n.Name] = i
	}
	settled := make([]bool, len(nodes))
	w := &Warmth{At: at, Images: make(map[string]*Image, len(images)), Broken: map[string]Failure{}, brokenLanes: map[string]map[string]Failure{}, settled: settled}
	all := make([]Image, len(images))
	byCanonical, byDigest := make(map[string]*Image, len(images)), map[string][]*Image{}
	for i, image := range images {
		all[i] = Image{At: at, settled: settled, same: byCanonical[image.Canonical]}
		w.Images[image.Name] = &all[i]
		byCanonical[image.Canonical] = &all[i]
		if image.Digest != "" {
			byDigest[image.Digest] = append(byDigest[image.Digest], &all[i])
		}
	}
	for i, n := range nodes {
		readNode(n, i, byCanonical)
		readSizes(n, byDigest)
	}
	full := make([]bool, len(nodes))
	ready := map[lanePod]bool{}
	for _, pod := range pods {
		node := NodeOf(pod)
		i, counts := at[node]
		if words, none := NoRoom(pod); counts && none {
			full[i] = true
			w.breaks(pod, Failure{Cause: causeNoRoom, Message: words, Settled: true, Since: pod.CreationTimestamp.Time, Began: pod.CreationTimestamp.Time})
		} else if counts {
			w.readPod(pod, i, deadline, now)
			w.readHeld(pod, i, deadline, now)
			if at := (lanePod{i, pod.Labels[v1alpha1.LabelLane]}); Ready(pod) || pod.DeletionTimestamp == nil {
				ready[at] = ready[at] || Ready(pod)
			}
		}
	}
	for at, is := range ready {
		settled[at.node] = settled[at.node] || is
	}
	for at, is := range ready {
		settled[at.node] = settled[at.node] && is && !full[at.node] // a full node keeps the list that it had
	}
	for i := range all {
		for node, f := range all[i].Failed {
			f.Rolls = settled[at[node]]
			all[i].Failed[node] = f
		}
	}
	return w
}

// lanePod is what a node has a prepull pod for, two while one replaces the other: the node by its position, and the lane.
type lanePod struct {
	node int
	lane string
}

// Settled tells whether the node at a position has a prepull pod that is ready in each lane.
func (w *Warmth) Settled(i int) bool { return w.settled[i] }

// Put makes the map if there is none.
func Put[V any](m *map[string]V, node string, value V) {
	if *m == nil {
		*m = map[string]V{}
	}
	(*m)[node] = value
}

// readNode takes what a node lists as present. It lists its 50 largest images, so one that is missing there may be
// present all the same.
func readNode(n *corev1.Node, position int, byCanonical map[string]*Image) {
	for _, image := range n.Status.Images {
		for _, name := range image.Names {
			for i := byCanonical[name]; i != nil; i = i.same {
				i.SetPresent(position)
				i.Size = max(i.Size, image.SizeBytes)
			}
		}
	}
}

// readSizes takes the sizes of images from nodes that have the same contents under any name: a node lists five names of an image
// at most, digests first (MaxNamesPerImageInNodeStatus in pkg/kubelet/nodestatus/setters.go).
func readSizes(n *corev1.Node, byDigest map[string][]*Image) {
	if len(byDigest) == 0 {
		return
	}
	for _, image := range n.Status.Images {
		for _, name := range image.Names {
			_, digest, found := strings.Cut(name, "@")
			if !found {
				break
			}
			for _, i := range byDigest[digest] {
				i.Size = max(i.Size, image.SizeBytes)
			}
		}
	}
}

// readPod goes through the init containers of a prepull pod, which run one after the other, up to the one that is not done.
// Its node is at a position.
func (w *Warmth) readPod(pod *corev1.Pod, position int, deadline time.Duration, now time.Time) {
	node, statuses := pod.Spec.NodeName, pod.Status.InitContainerStatuses
	var previous time.Time
	runs := runsOf(pod)
	for i := range statuses {
		s := &statuses[i]
		image := w.Images[s.Name]
		if RanWell(s) {
			started, ended := runs.next(s.State.Terminated)
			if f, _, skipped := SkippedBy(pod, s.Name); image != nil && !skipped {
				image.SetRan(position, pullTime(previous, started))
			} else if image != nil && pod.DeletionTimestamp == nil && !image.There(position) {
				Put(&image.Failed, node, f)
			}
			previous = ended
			continue
		}
		if pod.DeletionTimestamp == nil {
			w.readFront(pod, i, previous, deadline, now)
		}
		return
	}
}

// readFront takes in the init container that a node is at.
func (w *Warmth) readFront(pod *corev1.Pod, i int, previous time.Time, deadline time.Duration, now time.Time) {
	node, statuses := pod.Spec.NodeName, pod.Status.InitContainerStatuses
	f, failed := failureOf(&statuses[i])
	if !f.Settled && !previous.IsZero() && i < len(statuses)-1 {
		late := frontSince(pod, previous).Add(deadline)
		if now.Before(late) {
			w.Next = soonest(w.Next, late)
		} else {
			f, failed = lateFailure(deadline), true
		}
	}
	f.Since, f.Began = pod.CreationTimestamp.Time, frontSince(pod, previous)
	image := w.Images[statuses[i].Name]
	switch {
	case image != nil && failed:
		Put(&image.Failed, node, f)
	case image != nil:
		Put(&image.Pulling, node, true)
	case failed && i == 0:
		w.breaks(pod, f)
	}
}

// breaks notes that a prepull pod fails on its node as a whole. Of several lanes of a node the first one is told.
func (w *Warmth) breaks(pod *corev1.Pod, f Failure) {
	node := NodeOf(pod)
	if w.brokenLanes[node] == nil {
		w.brokenLanes[node] = map[string]Failure{}
	}
	w.brokenLanes[node][pod.Labels[v1alpha1.LabelLane]] = f
	w.Broken[node] = w.brokenLanes[node][slices.Min(slices.Collect(maps.Keys(w.brokenLanes[node])))]
}

// BrokenLane is why the pod of a lane, by its label, fails on a node as a whole; false if it does not.
func (w *Warmth) BrokenLane(node, lane string) (Failure, bool) {
	f, broken := w.brokenLanes[node][lane]
	return f, broken
}

// lateFailure is of a pull that takes too long.
func lateFailure(deadline time.Duration) Failure {
	return Failure{Cause: causeDeadline, Settled: true, Message: fmt.Sprintf("the pull has not ended within %v", deadline)}
}

// soonest of two times, of which a zero first one does not count.
func soonest(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// frontSince is when a pod came to the init container that it is at, by the clock of the API server: the clock of a node
// may be wrong. previous is when the one before it ended, by the clock of the node, as is the start of the pod.
func frontSince(pod *corev1.Pod, previous time.Time) time.Time {
	since := ScheduledAt(pod)
	if start := pod.Status.StartTime; start != nil && previous.After(start.Time) {
		since = since.Add(previous.Sub(start.Time))
	}
	return since
}

// ScheduledAt is when a pod got its node, or was created if nothing tells.
func ScheduledAt(pod *corev1.Pod) time.Time {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionTrue {
			return c.LastTransitionTime.Time
		}
	}
	return pod.CreationTimestamp.Time
}

// pullTime is how long a container waited for its image, from the end of the one before it. It contains a second or
// so in which the kubelet notices that end.
func pullTime(previous, started time.Time) time.Duration {
	if previous.IsZero() || started.Before(previous) {
		return 0
	}
	return started.Sub(previous)
}
