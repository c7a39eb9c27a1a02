package webhook

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// finding is what is wrong with a container of a pod.
type finding struct {
	reason    string
	pod       *corev1.Pod
	container string

	// image is the tag, and pinned the image with the digest.
	image, pinned string

	// others are how many more pods of the same owner have it.
	others int
}

// auditPod returns what is wrong with the pins of a pod: containers that run the tag although their revision is pinned,
// and containers that wait for a digest which the registry does not have.
func auditPod(pod *corev1.Pod) []finding {
	opted := map[string]string{v1alpha1.LabelRewrite: v1alpha1.RewriteTags} // its namespace is
	if pod.DeletionTimestamp != nil || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed ||
		v1alpha1.RewriteMode(opted, pod.Labels, false) == "" {
		return nil
	}
	var found []finding
	owner := metav1.GetControllerOfNoCopy(pod)
	replaced := originals(pod.Annotations[v1alpha1.AnnotationRewritten])
	check := func(name, pin, image string, policy corev1.PullPolicy) {
		pinned, ok := v1alpha1.Pinned(image, pod.Annotations[pin])
		if ok && owner != nil && builtIn(owner) && policy != corev1.PullNever && replaced[name] == "" {
			found = append(found, finding{reason: podNotPinned, pod: pod, container: name, image: image, pinned: pinned})
		}
	}
	waiting := gone(pod)
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for _, c := range list {
			check(c.Name, v1alpha1.AnnotationPin+c.Name, c.Image, c.ImagePullPolicy)
			if original, ok := replaced[c.Name]; ok && waiting[c.Name] && strings.Contains(c.Image, "@") {
				found = append(found, finding{reason: pinnedDigestGone, pod: pod, container: c.Name, image: original, pinned: c.Image})
			}
		}
	}
	for _, v := range pod.Spec.Volumes {
		if v.Image != nil {
			check("volume/"+v.Name, v1alpha1.AnnotationVolumePin+v.Name, v.Image.Reference, v.Image.PullPolicy)
		}
	}
	return found
}

// gone are the containers that wait for an image which the registry does not have.
func gone(pod *corev1.Pod) map[string]bool {
	names := map[string]bool{}
	for _, list := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for _, s := range list {
			w := s.State.Waiting
			if w == nil || w.Reason != "ErrImagePull" && w.Reason != "ImagePullBackOff" {
				continue
			}
			// containerd says "not found", CRI-O repeats the registry's code.
			words := strings.ToLower(w.Message)
			if strings.Contains(words, "not found") || strings.Contains(words, "manifest unknown") {
				names[s.Name] = true
			}
		}
	}
	return names
}

// owner is what made the pod, or the pod itself.
func (f finding) owner() types.UID {
	if owner := metav1.GetControllerOfNoCopy(f.pod); owner != nil {
		return owner.UID
	}
	return f.pod.UID
}

// like is true for the same finding in another pod.
func (f finding) like(other finding) bool {
	return f.reason == other.reason && f.container == other.container && f.pinned == other.pinned && f.owner() == other.owner()
}

func (f finding) message() string {
	who := "pod " + f.pod.Name
	if f.others > 0 {
		who = fmt.Sprintf("%s and %d others", who, f.others)
	}
	if f.reason == pinnedDigestGone {
		return fmt.Sprintf("container %s of %s: %s is gone from the registry: restart the rollout to pin what %s points to now",
			f.container, who, f.pinned, f.image)
	}
	return fmt.Sprintf("container %s of %s: %s in the place of %s, to which the revision is pinned: the pod was created while "+
		"kube-prepull did not answer, or its namespace did not ask for it; delete it to have it replaced", f.container, who, f.image, f.pinned)
}
