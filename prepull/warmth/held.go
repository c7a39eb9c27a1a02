package warmth

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// toldByEvents is of how many image volumes all failures get into events: a kubelet sends 25 about a pod, and then one in five
// minutes, and each pull takes two (defaultSpamBurst in k8s.io/client-go/tools/record/events_cache.go).
const toldByEvents = 10

// readHeld goes through the images that a prepull pod on the node at a position holds as image volumes. They are all there
// when the waiting container runs, or has run. Before that the kubelet tries them one after the other, in the order of the
// volumes and before it starts the first container, and one that fails keeps only the waiting container
// (getImageVolumes and toKubeContainerImageVolumes in pkg/kubelet/kuberuntime). Of several that fail, that one names the last:
// what comes before it is known from events as long as there are few images, and from what the node lists.
func (w *Warmth) readHeld(pod *corev1.Pod, position int, deadline time.Duration, now time.Time) {
	held := HeldBy(pod)
	if len(held) == 0 {
		return
	}
	node := pod.Spec.NodeName
	if waits(pod) {
		for _, v := range held {
			if image := w.Images[v.Name]; image != nil {
				image.SetRan(position, 0)
			}
		}
		return
	}
	if pod.DeletionTimestamp != nil {
		return
	}
	tried, failed, last := triedHeld(pod), failedHeld(pod), lastFailed(pod)
	if last == len(held) {
		f, _ := failureOf(statusOf(pod.Status.ContainerStatuses, WaitContainer))
		f.Since, f.Began = pod.CreationTimestamp.Time, ScheduledAt(pod)
		w.breaks(pod, f)
	}
	for i, v := range held {
		image := w.Images[v.Name]
		f, fails := failed[v.Name]
		switch {
		case image == nil:
		case fails && !image.There(position):
			f.Alone, f.Since, f.Began = true, pod.CreationTimestamp.Time, ScheduledAt(pod)
			Put(&image.Failed, node, f)
		case tried && (i > last || last < len(held) && len(held) <= toldByEvents):
			image.SetPresent(position)
		case !tried && !image.There(position):
			w.pullsHeld(pod, image, time.Duration(1+i), deadline, now)
			return // the others come later
		}
	}
}

// lastFailed is the position of the image for which the waiting container of a pod cannot start: those behind it are there, once
// all were tried. It is -1 if the container does not fail, and the number of images if it names none of them.
func lastFailed(pod *corev1.Pod) int {
	held := HeldBy(pod)
	if _, fails := failureOf(statusOf(pod.Status.ContainerStatuses, WaitContainer)); !fails {
		return -1
	}
	if i := slices.IndexFunc(held, func(v corev1.Volume) bool { return namedBy(pod, v) }); i >= 0 {
		return i
	}
	return len(held)
}

// pullsHeld notes that a node is at an image that it holds, or that it takes too long: each before its turn had as much time. Then
// everything waits behind it.
func (w *Warmth) pullsHeld(pod *corev1.Pod, image *Image, turn time.Duration, deadline time.Duration, now time.Time) {
	late := ScheduledAt(pod).Add(turn * deadline)
	if now.Before(late) {
		Put(&image.Pulling, pod.Spec.NodeName, true)
		w.Next = soonest(w.Next, late)
		return
	}
	f := lateFailure(deadline)
	f.Since, f.Began = pod.CreationTimestamp.Time, ScheduledAt(pod)
	Put(&image.Failed, pod.Spec.NodeName, f)
}

// heldPulls are the images that a prepull pod holds as image volumes, and how far its node is with them.
func heldPulls(pod *corev1.Pod, lists func(image string) bool) []Pull {
	waits, tried, failed, last := waits(pod), triedHeld(pod), failedHeld(pod), lastFailed(pod)
	active := false
	var pulls []Pull
	held := HeldBy(pod)
	for i, v := range held {
		p := Pull{Name: v.Name, State: PullQueued}
		f, fails := failed[v.Name]
		switch {
		case waits || lists(v.Image.Reference):
			p.State = PullDone
		case fails:
			p.State, p.Reason, p.Message = PullFailed, f.Reason, f.Message
		case tried && (i > last || last < len(held) && len(held) <= toldByEvents):
			p.State = PullDone
		case !tried && !active:
			p.State, active = PullActive, true
		}
		pulls = append(pulls, p)
	}
	return pulls
}

// HeldBy are the image volumes of a prepull pod, in the order in which they are pulled.
func HeldBy(pod *corev1.Pod) []corev1.Volume {
	other := func(v corev1.Volume) bool { return v.Image == nil }
	first := slices.IndexFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Image != nil })
	if first < 0 {
		return nil
	}
	held := pod.Spec.Volumes[first:]
	if !slices.ContainsFunc(held, other) {
		return held
	}
	return slices.DeleteFunc(slices.Clone(held), other)
}

// waits tells whether the waiting container of a prepull pod runs, or has run.
func waits(pod *corev1.Pod) bool {
	s := statusOf(pod.Status.ContainerStatuses, WaitContainer)
	return s != nil && (s.State.Running != nil || s.State.Terminated != nil || s.LastTerminationState.Terminated != nil)
}

// WaitsForHeld tells whether the waiting container of a pod cannot start: for an image that it holds, or for another reason.
func WaitsForHeld(pod *corev1.Pod) bool {
	_, fails := failureOf(statusOf(pod.Status.ContainerStatuses, WaitContainer))
	return fails
}

// Keeps tells whether a prepull pod has an image, by its name, and keeps it.
func Keeps(pod *corev1.Pod, name string) bool {
	if slices.ContainsFunc(HeldBy(pod), func(v corev1.Volume) bool { return v.Name == name }) {
		return waits(pod)
	}
	s := statusOf(pod.Status.InitContainerStatuses, name)
	_, _, skipped := SkippedBy(pod, name)
	return s != nil && RanWell(s) && !skipped
}

// triedHeld tells whether the kubelet has tried all image volumes of a pod: then it starts the first container.
func triedHeld(pod *corev1.Pod) bool {
	s := statusOf(pod.Status.InitContainerStatuses, InstallContainer)
	return s != nil && (s.State.Running != nil || s.State.Terminated != nil || s.LastTerminationState.Terminated != nil)
}

// failedHeld are the failures of image volumes, by their names. The status of the waiting container tells of one of them; what
// events tell of others is in statuses of their own (WithPullEvents).
func failedHeld(pod *corev1.Pod) map[string]Failure {
	failed := map[string]Failure{}
	for i := range pod.Status.ContainerStatuses {
		s := &pod.Status.ContainerStatuses[i]
		f, fails := failureOf(s)
		if !fails {
			continue
		}
		for _, v := range HeldBy(pod) {
			if s.Name == v.Name || s.Name == WaitContainer && namedBy(pod, v) {
				failed[v.Name] = f
			}
		}
	}
	return failed
}

// namedBy tells whether the waiting container of a pod says that it waits for an image.
func namedBy(pod *corev1.Pod, v corev1.Volume) bool {
	s := statusOf(pod.Status.ContainerStatuses, WaitContainer)
	return s != nil && s.State.Waiting != nil && names(s.State.Waiting.Message, v.Image.Reference)
}

// names tells whether a message is about an image. Kubelets add the tag latest, and runtimes write the whole name
// (evalCRIPullErr and applyDefaultImageTag in pkg/kubelet/images/image_manager.go).
func names(message, image string) bool {
	canonical, err := workload.CanonicalImage(image)
	if err != nil {
		return false
	}
	for _, name := range []string{image, workload.PulledAs(image, canonical), canonical} {
		if strings.Contains(message, `"`+name+`"`) || strings.Contains(message, " "+name+" ") {
			return true
		}
	}
	return false
}

// withHeldEvents is a pod with what events tell of image volumes that failed: a kubelet's status names one of them, and that
// once all init containers have ended. An image gets a status of its own.
func withHeldEvents(pod *corev1.Pod, about []*corev1.Event) *corev1.Pod {
	held := HeldBy(pod)
	if len(held) == 0 || len(about) == 0 || waits(pod) {
		return pod
	}
	next := *pod
	next.Status.ContainerStatuses = slices.Clone(pod.Status.ContainerStatuses)
	for _, v := range held {
		own := slices.DeleteFunc(slices.Clone(about), func(e *corev1.Event) bool { return !names(e.Message, v.Image.Reference) })
		if s, fails := failedPull(corev1.ContainerStatus{Name: v.Name}, own, time.Time{}); fails {
			next.Status.ContainerStatuses = append(next.Status.ContainerStatuses, s)
		}
	}
	return &next
}

func statusOf(statuses []corev1.ContainerStatus, name string) *corev1.ContainerStatus {
	for i := range statuses {
		if statuses[i].Name == name {
			return &statuses[i]
		}
	}
	return nil
}

// Ready tells whether a pod is.
func Ready(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}
