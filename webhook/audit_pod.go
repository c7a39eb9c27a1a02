package webhook

import (
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// volumePrefix sets the names of image volumes apart from those of containers, as in the marker of a pod.
const volumePrefix = "volume/"

// podImage is an image that a pod has pulled: of a container, an init container or an image volume.
type podImage struct {
	// name is the container's, or volume/ and the volume's.
	name string

	// pin is the key of the annotation that pins it, path the field that it is in.
	pin, path string

	image  string
	policy corev1.PullPolicy
}

func imagesIn(spec *corev1.PodSpec) []podImage {
	var images []podImage
	add := func(list string, containers []corev1.Container) {
		for _, c := range containers {
			images = append(images, podImage{c.Name, v1alpha1.AnnotationPin + c.Name, "spec." + list + "{" + c.Name + "}", c.Image, c.ImagePullPolicy})
		}
	}
	add("initContainers", spec.InitContainers)
	add("containers", spec.Containers)
	for _, v := range spec.Volumes {
		if v.Image != nil {
			images = append(images, podImage{
				volumePrefix + v.Name, v1alpha1.AnnotationVolumePin + v.Name, "spec.volumes{" + v.Name + "}", v.Image.Reference, v.Image.PullPolicy,
			})
		}
	}
	return images
}

// finding is a problem of one pod with one of its images.
type finding struct {
	reason string
	pod    corev1.ObjectReference

	// controller is that of the pod, or the pod itself if it has none.
	controller corev1.ObjectReference

	// deployment is the name of the controller's Deployment, empty if it is not a Deployment's.
	deployment string

	// container is the name of a container, or volume/ and that of an image volume.
	container string

	// image is what the template says, digest what it was pinned to: the image without its tag, and the digest.
	image, digest string
}

// auditPod returns what is wrong with the pins of a pod in a namespace whose images are pinned.
func auditPod(pod *corev1.Pod) []finding {
	controller := metav1.GetControllerOfNoCopy(pod)
	over := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
	if over || pod.DeletionTimestamp != nil || controller != nil && !pinsTemplates(controller) {
		return nil
	}
	of := finding{pod: corev1.ObjectReference{
		APIVersion: corev1.SchemeGroupVersion.String(), Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID,
	}}
	of.controller = of.pod
	if controller != nil {
		of.controller = corev1.ObjectReference{
			APIVersion: controller.APIVersion, Kind: controller.Kind, Namespace: pod.Namespace, Name: controller.Name, UID: controller.UID,
		}
		of.deployment = deploymentOf(pod, controller)
	}
	images := imagesIn(&pod.Spec)
	if controller == nil {
		return gone(of, pod, images)
	}
	return append(slipped(of, pod, images), gone(of, pod, images)...)
}

// with is a finding about one image of the pod. The field keeps its event apart from those about other images: the
// recorder only counts events that differ in nothing but their words.
func (f finding) with(reason string, i *podImage, image, digest string) finding {
	f.reason, f.container, f.image, f.digest, f.pod.FieldPath = reason, i.name, image, digest, i.path
	return f
}

// pinsTemplates is true for the controllers whose pods are rewritten.
func pinsTemplates(controller *metav1.OwnerReference) bool {
	group, err := schema.ParseGroupVersion(controller.APIVersion)
	if err != nil {
		return false
	}
	switch controller.Kind {
	case "ReplicaSet", "StatefulSet", "DaemonSet":
		return group.Group == appsv1.GroupName
	case "Job":
		return group.Group == batchv1.GroupName
	}
	return false
}

// deploymentOf reads the Deployment of a pod off its ReplicaSet, whose name the Deployment controller makes of the
// Deployment's name and the pod-template-hash.
func deploymentOf(pod *corev1.Pod, controller *metav1.OwnerReference) string {
	hash := pod.Labels[appsv1.DefaultDeploymentUniqueLabelKey]
	if name, ok := strings.CutSuffix(controller.Name, "-"+hash); ok && hash != "" && controller.Kind == "ReplicaSet" {
		return name
	}
	return ""
}

// slipped finds the images that are a tag although the pod inherited a pin for it.
func slipped(of finding, pod *corev1.Pod, images []podImage) []finding {
	// The namespace's mode says what is pinned, and a pin holds whatever it was when the template got it.
	if v1alpha1.RewriteMode(map[string]string{v1alpha1.LabelRewrite: v1alpha1.RewriteTags}, pod.Labels, false) == "" {
		return nil
	}
	var found []finding
	for _, i := range images {
		digest, ok := v1alpha1.Pinned(i.image, pod.Annotations[i.pin])
		// What the marker names was replaced; somebody else put the tag back.
		if !ok || i.policy == corev1.PullNever || markedImage(pod, i.name) != "" {
			continue
		}
		found = append(found, of.with(podNotPinned, &i, i.image, digest))
	}
	return found
}

// gone finds the images that were replaced by a digest which the registry does not have, by the words with which a
// container waits for it.
func gone(of finding, pod *corev1.Pod, images []podImage) []finding {
	waiting := map[string]string{}
	for _, s := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if w := s.State.Waiting; w != nil && (w.Reason == "ErrImagePull" || w.Reason == "ImagePullBackOff") && saysGone(w.Message) {
			waiting[s.Name] = w.Message
		}
	}
	if len(waiting) == 0 {
		return nil
	}
	volumes := slices.ContainsFunc(images, func(i podImage) bool { return strings.HasPrefix(i.name, volumePrefix) })
	var found []finding
	for _, i := range images {
		original := originalOf(pod, &i)
		if original == "" {
			continue
		}
		_, digest, _ := strings.Cut(i.image, "@")
		message, waits := waiting[i.name]
		missing := waits && strings.Contains(message, digest)
		if !missing && strings.HasPrefix(i.name, volumePrefix) {
			missing = blamed(pod, digest, waiting)
		}
		// Not every runtime names the image, but only a pod with image volumes may wait for another than its container's.
		if !missing && (!waits || volumes) {
			continue
		}
		found = append(found, of.with(pinnedDigestGone, &i, original, i.image))
	}
	return found
}

// blamed is true if a container waits for the digest of an image volume, and not because of an image of its own with the
// same digest.
func blamed(pod *corev1.Pod, digest string, waiting map[string]string) bool {
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		if strings.Contains(waiting[c.Name], digest) && !strings.HasSuffix(c.Image, digest) {
			return true
		}
	}
	return false
}

// originalOf is the image that was replaced by one with a digest, as the marker or the pin of the pod has it; empty if
// nobody replaced it.
func originalOf(pod *corev1.Pod, i *podImage) string {
	_, digest, ok := strings.Cut(i.image, "@")
	if !ok {
		return ""
	}
	pin := pod.Annotations[i.pin]
	original := markedImage(pod, i.name)
	if original != "" {
		pin = v1alpha1.Pin(original, digest)
	} else {
		original, _, _ = strings.Cut(pin, "@")
	}
	if image, ok := v1alpha1.Pinned(original, pin); !ok || image != i.image {
		return ""
	}
	return original
}

// markedImage is the image of a container as the marker of a rewritten pod has it, empty if it is not in there.
func markedImage(pod *corev1.Pod, container string) string {
	for entry := range strings.SplitSeq(pod.Annotations[v1alpha1.AnnotationRewritten], ",") {
		if name, image, _ := strings.Cut(entry, "="); name == container {
			return image
		}
	}
	return ""
}

// Words of registries and runtimes about a manifest that is not there, and those beside which the same words mean
// something else, such as a missing platform or a refusal that leaves open what there is.
var (
	goneWords  = []string{"not found", "manifest unknown", "name unknown", "does not exist"}
	otherWords = []string{
		"toomanyrequests", "too many requests", "rate limit", "no match for platform", "no matching manifest",
		"no such host", "connection refused", "timeout", "deadline exceeded", "x509:", "tls:",
		"unauthorized", "denied", "forbidden", "authentication required", "insufficient_scope",
	}
)

// saysGone reads only what is not a name: an image may be called timeout-service.
func saysGone(message string) bool {
	words := strings.Fields(strings.ToLower(message))
	words = slices.DeleteFunc(words, func(w string) bool { return strings.ContainsAny(w, `/"`) })
	message = strings.Join(words, " ")
	in := func(words string) bool { return strings.Contains(message, words) }
	return slices.ContainsFunc(goneWords, in) && !slices.ContainsFunc(otherWords, in)
}
