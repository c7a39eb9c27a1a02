package plan

import (
	"crypto/sha256"
	"encoding/json"
	"maps"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// Standalone is a DaemonSet that pulls images as those of kube-prepull do, for clusters that do not run it.
type Standalone struct {
	// Namespace of the DaemonSet; empty leaves it to whoever applies it. PullSecrets are names of Secrets there.
	Namespace, Name string
	PullSecrets     []string

	// NoopImage is the image of cmd/noop.
	NoopImage string

	// Placement is where it runs; Linux nodes only, whatever it says.
	Placement v1alpha1.Placement

	// Images are pulled in this order, each given once.
	Images []string
}

// standaloneSurge is how many nodes take a new list at the same time.
const standaloneSurge = "10%"

// noopFolder is another one for each list: who knows only a part of it cannot know the folder, and an equal list restarts no pod.
func (s Standalone) noopFolder() string {
	text, _ := json.Marshal(s) // strings and a Placement always marshal
	sum := sha256.Sum256(text)
	return workload.NoopFolder([16]byte(sum[:16]))
}

// DaemonSet returns it. Its labels are none of kube-prepull's own, which would take it for one of its DaemonSets.
func (s Standalone) DaemonSet() *appsv1.DaemonSet {
	labels := map[string]string{v1alpha1.LabelName: s.Name}
	images := make([]entry, 0, len(s.Images))
	taken := map[string]bool{}
	for _, image := range s.Images {
		name, _ := workload.FreeName(image, taken)
		taken[name] = true
		images = append(images, entry{Candidate: &Candidate{Name: name, image: image}})
	}
	spec := pullingPod(images, s.NoopImage, s.noopFolder(), false)
	spec.NodeSelector = map[string]string{corev1.LabelOSStable: string(corev1.Linux)}
	maps.Copy(spec.NodeSelector, s.Placement.NodeSelector)
	if s.Placement.NodeAffinity != nil {
		spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: s.Placement.NodeAffinity}}
	}
	spec.Tolerations = s.Placement.Tolerations
	for _, name := range s.PullSecrets {
		spec.ImagePullSecrets = append(spec.ImagePullSecrets, corev1.LocalObjectReference{Name: name})
	}
	return &appsv1.DaemonSet{
		TypeMeta:   metav1.TypeMeta{APIVersion: appsv1.SchemeGroupVersion.String(), Kind: "DaemonSet"},
		ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: s.Name, Labels: labels},
		Spec: appsv1.DaemonSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: maps.Clone(labels)},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: maps.Clone(labels)}, Spec: spec},
			UpdateStrategy: appsv1.DaemonSetUpdateStrategy{
				Type: appsv1.RollingUpdateDaemonSetStrategyType,
				RollingUpdate: &appsv1.RollingUpdateDaemonSet{
					MaxSurge:       ptr.To(intstr.FromString(standaloneSurge)),
					MaxUnavailable: ptr.To(intstr.FromInt32(0)),
				},
			},
			RevisionHistoryLimit: ptr.To[int32](1),
		},
	}
}
