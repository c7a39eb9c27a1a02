package measure

import (
	"crypto/rand"
	"time"

	"github.com/kube-prepull/kube-prepull/prepull/workload"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

const (
	// componentMeasure is the component label of the pods of experiments.
	componentMeasure = "measure"

	installContainer  = "install"
	measuredContainer = "measured"

	noopVolume = "noop"
)

// subject is what is measured, and with what.
type subject struct {
	namespace      string
	image          string
	noopImage      string
	assignedUser   bool // the cluster gives pods their user and refuses others
	pullSecrets    []string
	serviceAccount string        // empty is the namespace's default
	lifetime       time.Duration // after which Kubernetes ends a pod that nobody deleted
}

// pod runs noop in the image, on one node, and ends. Nothing of the image runs: its entrypoint may do anything. The
// scheduler places it as it would any other pod, so that there is a time at which it did.
func (s *subject) pod(name, node string) *corev1.Pod {
	var random [16]byte
	_, _ = rand.Read(random[:]) // never fails
	noopFolder := workload.NoopFolder(random)
	install := workload.RestrictedContainer(installContainer, s.noopImage)
	install.Args = []string{"install", noopFolder}
	install.VolumeMounts = []corev1.VolumeMount{{Name: noopVolume, MountPath: noopFolder}}
	measured := workload.RestrictedContainer(measuredContainer, s.image)
	measured.Command = []string{noopFolder + "/noop"}
	measured.VolumeMounts = []corev1.VolumeMount{{Name: noopVolume, MountPath: noopFolder, ReadOnly: true}}
	var secrets []corev1.LocalObjectReference
	for _, secret := range s.pullSecrets {
		secrets = append(secrets, corev1.LocalObjectReference{Name: secret})
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name, Labels: map[string]string{
			v1alpha1.LabelName:      v1alpha1.Name,
			v1alpha1.LabelComponent: componentMeasure,
			v1alpha1.LabelEnabled:   v1alpha1.Disabled,
		}},
		Spec: corev1.PodSpec{
			InitContainers:                []corev1.Container{install},
			Containers:                    []corev1.Container{measured},
			Volumes:                       []corev1.Volume{{Name: noopVolume, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}},
			Affinity:                      only(node),
			Tolerations:                   []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
			RestartPolicy:                 corev1.RestartPolicyNever,
			ActiveDeadlineSeconds:         ptr.To(max(1, int64(s.lifetime.Seconds()))),
			TerminationGracePeriodSeconds: ptr.To[int64](0),
			ServiceAccountName:            s.serviceAccount,
			AutomountServiceAccountToken:  ptr.To(false),
			EnableServiceLinks:            ptr.To(false),
			ImagePullSecrets:              secrets,
			SecurityContext:               workload.RestrictedPod(s.assignedUser),
		},
	}
}

// only is affinity for one node.
func only(node string) *corev1.Affinity {
	return &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
		NodeSelectorTerms: []corev1.NodeSelectorTerm{{
			MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{node}}},
		}},
	}}}
}
