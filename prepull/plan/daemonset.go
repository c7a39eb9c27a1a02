package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"

	"github.com/kube-prepull/kube-prepull/prepull/workload"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/nodeclass"
	"github.com/kube-prepull/kube-prepull/prepull/warmth"
)

const (
	// AnnotationSpecHash on a prepull DaemonSet is the hash of the spec that was last written. It is not on the template,
	// where a new way to compute it would restart every prepull pod.
	AnnotationSpecHash = "kube-prepull.io/spec-hash"

	noopVolume = "noop"

	// heldFolder of the waiting container is where the images are that it holds. It is of our own image, which has nothing there.
	heldFolder = "/held"
)

// daemonSetName is that of a lane of a class. The first one has the name that it has where there are no others.
func daemonSetName(class string, lane int) string {
	if lane == 1 {
		return v1alpha1.Name + "-" + class
	}
	return fmt.Sprintf("%s-%s-lane-%d", v1alpha1.Name, class, lane)
}

// daemonSet is the prepull DaemonSet of a lane of a class. Its template depends on nothing but these, the images and the
// options: an upgrade of the manager restarts no prepull pod.
//
// The old pod of a node is kept until the new one is ready, for two reasons: the kubelet does not delete images that a
// container of an existing pod has used, and a list that cannot be pulled does not replace one that was.
//
// Only the labels of further lanes say which it is, so the selector of the first one matches their pods too. The controller
// of DaemonSets goes by owners, and takes only pods that have none (ClaimPods in pkg/controller/controller_ref_manager.go).
func daemonSet(c *nodeclass.Class, lane int, images []entry, o Options) *appsv1.DaemonSet {
	labels := v1alpha1.PrepullLabels()
	labels[v1alpha1.LabelNodeClass] = c.Name
	if label := laneLabel(lane); label != "" {
		labels[v1alpha1.LabelLane] = label
	}
	surge := o.MaxConcurrentNodes
	ds := &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: o.Namespace, Name: daemonSetName(c.Name, lane), Labels: labels},
		Spec: appsv1.DaemonSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: maps.Clone(labels)},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: maps.Clone(labels)},
				Spec:       prepullPodSpec(c, images, o),
			},
			UpdateStrategy: appsv1.DaemonSetUpdateStrategy{
				Type: appsv1.RollingUpdateDaemonSetStrategyType,
				RollingUpdate: &appsv1.RollingUpdateDaemonSet{
					MaxSurge:       &surge,
					MaxUnavailable: ptr.To(intstr.FromInt32(0)),
				},
			},
			RevisionHistoryLimit: ptr.To[int32](1),
		},
	}
	list := listLabel(ds)
	metav1.SetMetaDataLabel(&ds.ObjectMeta, v1alpha1.LabelList, list)
	metav1.SetMetaDataLabel(&ds.Spec.Template.ObjectMeta, v1alpha1.LabelList, list)
	return ds
}

func prepullPodSpec(c *nodeclass.Class, images []entry, o Options) corev1.PodSpec {
	spec := pullingPod(images, o.NoopImage, o.NoopFolder, o.AssignedUser)
	spec.Affinity = c.Affinity()
	spec.Tolerations = c.Tolerations(o.Gate.key())
	spec.HostNetwork = o.HostNetwork
	spec.SchedulingGates = o.Mirror.gates()
	spec.PriorityClassName = o.PriorityClassName
	spec.ImagePullSecrets = pullSecrets(c, images, o.NoopPullSecrets)
	return spec
}

// pullingPod pulls images one after the other, in their order, and then keeps them: those that it brings are kept because
// their containers are not deleted, and those that it holds because they are mounted (pkg/kubelet/images/image_gc_manager.go).
// Nothing of them is run: noop is at a path that they cannot know.
func pullingPod(images []entry, noopImage, noopFolder string, assignedUser bool) corev1.PodSpec {
	like := workload.RestrictedContainer("", "") // made once: lists are long
	install := container(like, warmth.InstallContainer, noopImage)
	install.Args = []string{"install", noopFolder}
	install.VolumeMounts = []corev1.VolumeMount{{Name: noopVolume, MountPath: noopFolder}}
	first := make([]corev1.Container, 0, 1+len(images))
	first = append(first, install)
	wait := container(like, warmth.WaitContainer, noopImage)
	wait.Args = []string{"wait"}
	volumes := []corev1.Volume{{Name: noopVolume, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
	for _, image := range images {
		if !image.held {
			first = append(first, imageContainer(like, image, noopFolder))
			continue
		}
		volumes = append(volumes, imageVolume(image))
		wait.VolumeMounts = append(wait.VolumeMounts, corev1.VolumeMount{Name: image.Name, MountPath: heldFolder + "/" + image.Name, ReadOnly: true})
	}
	return corev1.PodSpec{
		InitContainers:                first,
		Containers:                    []corev1.Container{wait},
		Volumes:                       volumes,
		AutomountServiceAccountToken:  ptr.To(false),
		EnableServiceLinks:            ptr.To(false),
		TerminationGracePeriodSeconds: ptr.To[int64](0),
		SecurityContext:               workload.RestrictedPod(assignedUser),
	}
}

// imageContainer pulls an image by running our noop in it: an image need not contain a program that ends.
func imageContainer(like corev1.Container, e entry, noopFolder string) corev1.Container {
	pull := container(like, e.Name, e.image)
	if e.always {
		pull.ImagePullPolicy = corev1.PullAlways
	}
	if e.digest != "" {
		pull.Env = []corev1.EnvVar{{Name: digestVariable, Value: e.digest}}
	}
	pull.Command = []string{noopFolder + "/noop"}
	pull.VolumeMounts = []corev1.VolumeMount{{Name: noopVolume, MountPath: noopFolder, ReadOnly: true}}
	return pull
}

// imageVolume holds an image.
func imageVolume(e entry) corev1.Volume {
	return corev1.Volume{Name: e.Name, VolumeSource: corev1.VolumeSource{
		Image: &corev1.ImageVolumeSource{Reference: e.image, PullPolicy: corev1.PullIfNotPresent},
	}}
}

func container(like corev1.Container, name, image string) corev1.Container {
	like.Name, like.Image = name, image
	return like
}

// sign gives a DaemonSet the hash of its spec, once that is as it is to be written.
func sign(ds *appsv1.DaemonSet) {
	metav1.SetMetaDataAnnotation(&ds.ObjectMeta, AnnotationSpecHash, specHash(&ds.Spec))
}

func specHash(spec *appsv1.DaemonSetSpec) string {
	return hashOf(spec)
}

// hashOf an API object, which consists of types that always marshal. The text of a list is long, and not kept.
func hashOf(object any) string {
	h := sha256.New()
	_ = json.NewEncoder(h).Encode(object)
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// AcceptedHash is the hash of a spec that the API server answered with. It leaves out the annotations of the template:
// somebody may restart the pods, and taking that back would restart them once more.
func AcceptedHash(spec *appsv1.DaemonSetSpec) string {
	accepted := *spec
	accepted.Template.Annotations = nil
	return specHash(&accepted)
}

// upToDate tells whether a stored DaemonSet is what we would write. The annotation finds what we would write differently.
// What somebody else changed differs from accepted, the hash of what the API server made of it when we wrote last: with
// its defaults, and with what an admission webhook changes each time. A new leader does not know it, so accepted is
// empty: then the fields that we set are compared, and those that the API server defaulted are not.
func upToDate(stored, desired *appsv1.DaemonSet, accepted string) bool {
	if stored.Annotations[AnnotationSpecHash] != desired.Annotations[AnnotationSpecHash] {
		return false
	}
	if !equality.Semantic.DeepDerivative(desired.Labels, stored.Labels) {
		return false
	}
	if accepted != "" {
		return accepted == AcceptedHash(&stored.Spec)
	}
	was, is := &stored.Spec.Template.Spec, &desired.Spec.Template.Spec
	// DeepDerivative takes a longer list for an equal one.
	return equality.Semantic.DeepDerivative(desired.Spec, stored.Spec) &&
		len(was.InitContainers) == len(is.InitContainers) &&
		len(was.Containers) == len(is.Containers) &&
		len(was.Volumes) == len(is.Volumes) &&
		HeldIn(&stored.Spec.Template.Spec) == HeldIn(&desired.Spec.Template.Spec) &&
		len(was.Tolerations) == len(is.Tolerations) &&
		stored.Spec.UpdateStrategy.Type == desired.Spec.UpdateStrategy.Type &&
		equality.Semantic.DeepEqual(was.Affinity, is.Affinity) &&
		len(was.ImagePullSecrets) == len(is.ImagePullSecrets) &&
		len(was.NodeSelector) == 0
}
