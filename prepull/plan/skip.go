package plan

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-prepull/kube-prepull/prepull/warmth"
)

// skipTime is how long a node goes without an image that it could not pull. Then its prepull pod is made anew, and tries again.
const skipTime = 30 * time.Minute

// Skip is an image that one prepull pod goes on without: others of the class have it, so the list stays as it is, and the images
// behind it are not kept from the node. The init container that could not pull it runs the noop image instead, which a kubelet
// takes over at its next try (the image of a container may be changed, see ValidatePodUpdate in pkg/apis/core/validation).
type Skip struct {
	Pod *corev1.Pod

	// Container is the name of the init container, and of the image's object.
	Container string

	// Failure is why the node cannot pull the image.
	Failure warmth.Failure
}

// planSkips finds the pods that go on without an image, and those that try again because they did so long ago. No more pods
// are made anew than may be on the way to a list. surge is how many may.
func (p *Plan) planSkips(cp *ClassPlan, pods []*corev1.Pod, surge int, now time.Time) {
	for i := range cp.Pullable {
		if !cp.Warmth.Settled(i) {
			surge--
		}
	}
	for _, pod := range pods {
		node := pod.Spec.NodeName
		if _, counts := cp.Warmth.At[node]; !counts || pod.DeletionTimestamp != nil {
			continue
		}
		if image := cp.listed(warmth.BacksOff(pod)); image != nil {
			f, fails := image.Warmth.Failed[node]
			_, _, skipped := warmth.SkippedBy(pod, image.Name)
			switch {
			case !fails || skipped:
			case f.Counts(now):
				p.Skips = append(p.Skips, Skip{pod, image.Name, f})
			default:
				p.lookAgainBy(f.CountsFrom())
			}
		}
		due := cp.skippedUntil(pod)
		switch {
		case due.IsZero() || !warmth.Ready(pod):
		case due.After(now):
			p.lookAgainBy(due)
		case surge > 0:
			surge--
			p.DeletePods = append(p.DeletePods, pod)
		}
	}
}

// listed is the image with a name if it is in the list, and stays there.
func (cp *ClassPlan) listed(name string) *ClassImage {
	for _, e := range cp.List {
		if image := cp.of[e.Candidate]; e.Name == name && image.listed {
			return image
		}
	}
	return nil
}

// skippedUntil is when a pod is to try again what it goes without; zero if it goes without nothing, or has it meanwhile.
func (cp *ClassPlan) skippedUntil(pod *corev1.Pod) time.Time {
	var due time.Time
	if len(pod.Annotations) == 0 {
		return due
	}
	for _, image := range cp.Images {
		_, at, skipped := warmth.SkippedBy(pod, image.Name)
		if _, fails := image.Warmth.Failed[pod.Spec.NodeName]; skipped && fails {
			due = sooner(due, at.Add(skipTime))
		}
	}
	return due
}
