package plan

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/warmth"
)

// skipTime is how long a node goes without an image that it cannot pull. Then its prepull pod is made anew, and tries again.
func skipTime(f warmth.Failure) time.Duration {
	switch {
	case f.Permanent:
		return 30 * time.Minute
	case f.RateLimited():
		return firstRest
	default:
		return firstBackOff
	}
}

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

// planSkips finds the pods of a lane that go on without an image, and, unless its DaemonSet changes anyway, those that try again
// because they did so long ago. No more pods are made anew than may be on the way to a list, which concurrent is.
func (p *Plan) planSkips(cp *ClassPlan, l *lane, concurrent int, changes bool, now time.Time) {
	var again []*corev1.Pod
	for _, pod := range l.on {
		node := pod.Spec.NodeName
		if _, counts := cp.Warmth.At[node]; !counts || pod.DeletionTimestamp != nil {
			continue
		}
		ready := warmth.Ready(pod)
		if !ready { // what is ready has pulled all
			if s, skips := cp.skipOf(pod); skips {
				p.Skips = append(p.Skips, s)
			}
		}
		due := cp.skippedUntil(pod)
		switch {
		case due.IsZero() || changes || !ready:
		case due.After(now):
			p.lookAgainBy(due)
		default:
			again = append(again, pod)
		}
	}
	if len(again) == 0 {
		return
	}
	for _, n := range cp.Pullable {
		if cp.pulls(l, n) {
			concurrent--
		}
	}
	p.DeletePods = append(p.DeletePods, again[:min(len(again), max(0, concurrent))]...)
}

// skipOf is what a pod goes on without, if it is at an image that its node cannot pull and others have.
func (cp *ClassPlan) skipOf(pod *corev1.Pod) (Skip, bool) {
	image := cp.listed(warmth.BacksOff(pod))
	if image == nil {
		return Skip{}, false
	}
	f, fails := image.Warmth.Failed[pod.Spec.NodeName]
	_, _, skipped := warmth.SkippedBy(pod, image.Name)
	goesOn := f.Final() || f.Lasts() && (f.Rolls || cp.lacksBehind(image, pod.Spec.NodeName))
	return Skip{pod, image.Name, f}, fails && !skipped && image.Warmth.Ready() > 0 && goesOn
}

// lacksBehind tells whether a node lacks an image that its lane pulls after another one.
func (cp *ClassPlan) lacksBehind(image *ClassImage, node string) bool {
	at, behind := cp.Warmth.At[node], false
	for _, e := range cp.laneOf(image).list {
		if behind && !e.held && !cp.of[e.Candidate].Warmth.There(at) {
			return true
		}
		behind = behind || e.Name == image.Name
	}
	return false
}

// listed is the image with a name if it is in the list, and stays there.
func (cp *ClassPlan) listed(name string) *ClassImage {
	if name == "" {
		return nil
	}
	for _, e := range cp.List {
		if image := cp.of[e.Candidate]; e.Name == name && image.listed {
			return image
		}
	}
	return nil
}

// skippedUntil is when a pod is to try again what it goes without; zero if it goes without nothing, or has it meanwhile. What was
// denied is tried again as soon as its pull secret has changed.
func (cp *ClassPlan) skippedUntil(pod *corev1.Pod) time.Time {
	var due, last time.Time
	var failures []warmth.Failure
	for key := range pod.Annotations {
		name, skips := strings.CutPrefix(key, v1alpha1.AnnotationSkipped)
		image := cp.listed(name)
		if !skips || image == nil {
			continue
		}
		f, at, _ := warmth.SkippedBy(pod, name)
		if _, fails := image.Warmth.Failed[pod.Spec.NodeName]; !fails {
			continue
		}
		failures, last = append(failures, f), latest(last, at)
		if changed := image.access.changed; f.Reason == warmth.CauseDenied.Reason && changed.After(at) {
			due = sooner(due, changed)
		}
	}
	for _, f := range failures {
		due = sooner(due, last.Add(skipTime(f))) // each further one took its tries
	}
	return due
}
