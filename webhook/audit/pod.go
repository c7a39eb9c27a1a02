package audit

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kube-prepull/kube-prepull/prepull/warmth"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
	"github.com/kube-prepull/kube-prepull/webhook/pins"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// maxOwner is how many bytes the reference to a controller that may exist has at most. The API server does not bound it.
const maxOwner = 1024

// finding is what is wrong with a container, or an image volume, of a pod.
type finding struct {
	reason string

	// pod has its metadata only: there may be many, and each would keep the page alive on which it came.
	pod       *corev1.Pod
	container string

	// image is the tag, and pinned the image with the digest.
	image, pinned string

	// others are how many more pods of the same owner have it.
	others int
}

// auditPod returns what is wrong with the pins of a pod: images that are a tag although their revision is pinned, and
// digests that the pod waits for and the registry does not have.
func auditPod(pod *corev1.Pod) []finding {
	if pod.DeletionTimestamp != nil || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return nil
	}
	if owner := metav1.GetControllerOfNoCopy(pod); owner != nil && len(owner.APIVersion+owner.Kind+owner.Name)+len(owner.UID) > maxOwner {
		return nil
	}
	images := imagesIn(&pod.Spec)
	found := append(slipped(pod, images), gone(pod, images)...)
	return slices.DeleteFunc(found, func(f finding) bool { return max(len(f.image), len(f.pinned)) > workload.MaxImageLength })
}

// imagesIn are the images that the kubelet pulls for a pod.
func imagesIn(spec *corev1.PodSpec) []pins.Container {
	var images []pins.Container
	for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
		images = append(images, pins.Container{Name: c.Name, Pin: v1alpha1.AnnotationPin + c.Name, Image: c.Image, Policy: c.ImagePullPolicy})
	}
	for _, v := range spec.Volumes {
		if v.Image != nil {
			images = append(images, pins.Container{
				Name: "volume/" + v.Name, Pin: v1alpha1.AnnotationVolumePin + v.Name, Image: v.Image.Reference, Policy: v.Image.PullPolicy,
			})
		}
	}
	return images
}

// slipped finds the images that are a tag although the pod inherited a pin for it.
func slipped(pod *corev1.Pod, images []pins.Container) []finding {
	opted := map[string]string{v1alpha1.LabelRewrite: v1alpha1.RewriteTags} // its namespace is
	owner := metav1.GetControllerOfNoCopy(pod)
	if owner == nil || !pins.BuiltIn(owner) || v1alpha1.RewriteMode(opted, pod.Labels, false) == "" {
		return nil
	}
	replaced := v1alpha1.Originals(pod.Annotations[v1alpha1.AnnotationRewritten])
	var found []finding
	for _, c := range images {
		pinned, ok := v1alpha1.Pinned(c.Image, pod.Annotations[c.Pin])
		if ok && c.Policy != corev1.PullNever && replaced[c.Name] == "" {
			found = append(found, finding{reason: podNotPinned, pod: metadataOnly(pod), container: c.Name, image: c.Image, pinned: pinned})
		}
	}
	return found
}

// gone finds the images that were replaced by a digest which the registry does not have, by the words with which a
// container waits.
func gone(pod *corev1.Pod, images []pins.Container) []finding {
	waiting := map[string]string{}
	for _, s := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if w := s.State.Waiting; w != nil && (w.Reason == "ErrImagePull" || w.Reason == "ImagePullBackOff") && saysGone(w.Message) {
			waiting[s.Name] = w.Message
		}
	}
	if len(waiting) == 0 {
		return nil
	}
	replaced := v1alpha1.Originals(pod.Annotations[v1alpha1.AnnotationRewritten])
	volumes := slices.ContainsFunc(images, isVolume)
	var found []finding
	for _, c := range images {
		original, ok := replaced[c.Name]
		_, digest, digested := strings.Cut(c.Image, "@")
		if !ok || !digested {
			continue
		}
		message, waits := waiting[c.Name]
		// Not every runtime names the image, and a pod with image volumes may wait for another than its container's.
		missing := waits && (!volumes || strings.Contains(message, digest))
		if missing || isVolume(c) && volumeAtFault(&pod.Spec, digest, waiting) {
			found = append(found, finding{reason: pinnedDigestGone, pod: metadataOnly(pod), container: c.Name, image: original, pinned: c.Image})
		}
	}
	return found
}

func isVolume(c pins.Container) bool { return strings.HasPrefix(c.Name, "volume/") }

// volumeAtFault is true if a container waits for the digest of an image volume, and not for an image of its own with that digest.
func volumeAtFault(spec *corev1.PodSpec, digest string, waiting map[string]string) bool {
	for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
		if strings.Contains(waiting[c.Name], digest) && !strings.HasSuffix(c.Image, digest) {
			return true
		}
	}
	return false
}

// metadataOnly is what is needed of a pod: labels, annotations and finalizers may have a megabyte.
func metadataOnly(pod *corev1.Pod) *corev1.Pod {
	own := metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID}
	if hash, found := pod.Labels[appsv1.DefaultDeploymentUniqueLabelKey]; found {
		own.Labels = map[string]string{appsv1.DefaultDeploymentUniqueLabelKey: hash}
	}
	if owner := metav1.GetControllerOfNoCopy(pod); owner != nil {
		own.OwnerReferences = []metav1.OwnerReference{*owner}
	}
	return &corev1.Pod{ObjectMeta: own}
}

// saysGone tells whether a registry says that it does not have an image, and nothing that leaves open what there is.
func saysGone(message string) bool { return warmth.SpokenCause(message) == warmth.CauseNotFound }

// owner is what made the pod, or the pod itself.
func (f *finding) owner() types.UID {
	if owner := metav1.GetControllerOfNoCopy(f.pod); owner != nil {
		return owner.UID
	}
	return f.pod.UID
}

// findingKey is what the same finding in several pods of an owner has in common.
type findingKey struct {
	owner                     types.UID
	reason, container, pinned string
}

func (f *finding) key() findingKey {
	return findingKey{f.owner(), f.reason, f.container, f.pinned}
}

// message says what is wrong, and what to do about it for a kind of workload.
func (f *finding) message(kind string) string {
	who := "pod " + f.pod.Name
	if f.others > 0 {
		who = fmt.Sprintf("%s and %d more", who, f.others)
	}
	if f.reason == pinnedDigestGone {
		return fmt.Sprintf("%s of %s: %s is gone from the registry: %s to pin what %s points to now",
			InWords(f.container), who, f.pinned, f.remedy(kind), f.image)
	}
	remedy := "delete it to have it replaced"
	if kind == "Job" || kind == "CronJob" {
		remedy = "run the job again if that matters" // to the job, a pod that is deleted has failed
	}
	return fmt.Sprintf("%s of %s: %s in the place of %s, to which the revision is pinned: the pod was created while "+
		"kube-prepull did not answer, or its namespace did not ask for it; %s", InWords(f.container), who, f.image, f.pinned, remedy)
}

// remedy for a digest that is gone.
func (f *finding) remedy(kind string) string {
	switch kind {
	case "Deployment", "DaemonSet":
		return "restart the rollout"
	case "StatefulSet":
		return "restart the rollout and delete pod " + f.pod.Name // which the rollout may wait for
	case "CronJob":
		return "change the CronJob's pod template, an annotation is enough,"
	}
	return "create the " + strings.ToLower(kind) + " again"
}
