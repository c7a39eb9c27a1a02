// Package workloadtest has workloads for tests, in the namespace shop.
package workloadtest

import (
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// Spec is the spec of a pod with one container for each image.
func Spec(images ...string) corev1.PodSpec {
	var spec corev1.PodSpec
	for _, image := range images {
		spec.Containers = append(spec.Containers, corev1.Container{Image: image})
	}
	return spec
}

// InShop is the metadata of an object in a namespace.
func InShop(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID("uid-of-" + name)}
}

// Controlled adds a controller to an object.
func Controlled[T client.Object](o T, kind, name string) T {
	yes := true
	o.SetOwnerReferences([]metav1.OwnerReference{{Kind: kind, Name: name, UID: types.UID("uid-of-" + name), Controller: &yes}})
	return o
}

// Labelled gives an object one label.
func Labelled[T client.Object](o T, key, value string) T {
	o.SetLabels(map[string]string{key: value})
	return o
}

// Pod is a pod of some images.
func Pod(name string, images ...string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: InShop(name), Spec: Spec(images...)}
}

// Deployment is a Deployment of some images.
func Deployment(name string, images ...string) *appsv1.Deployment {
	return &appsv1.Deployment{ObjectMeta: InShop(name), Spec: appsv1.DeploymentSpec{Template: corev1.PodTemplateSpec{Spec: Spec(images...)}}}
}

// Job is a Job of some images.
func Job(name string, images ...string) *batchv1.Job {
	return &batchv1.Job{ObjectMeta: InShop(name), Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: Spec(images...)}}}
}

// Requiring is an affinity that requires one of some terms.
func Requiring(terms ...corev1.NodeSelectorTerm) *corev1.Affinity {
	return &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: terms},
	}}
}

// InZones requires one of some zones.
func InZones(zones ...string) corev1.NodeSelectorRequirement {
	return corev1.NodeSelectorRequirement{Key: corev1.LabelTopologyZone, Operator: corev1.NodeSelectorOpIn, Values: zones}
}

// RequireZones has a term for each list of zones.
func RequireZones(lists ...[]string) *corev1.Affinity {
	var terms []corev1.NodeSelectorTerm
	for _, zones := range lists {
		terms = append(terms, corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{InZones(zones...)}})
	}
	return Requiring(terms...)
}

// OnNode is what the DaemonSet controller puts in its pods.
func OnNode(name string) corev1.NodeSelectorRequirement {
	return corev1.NodeSelectorRequirement{Key: metav1.ObjectNameField, Operator: corev1.NodeSelectorOpIn, Values: []string{name}}
}

var (
	DigestA = "sha256:" + strings.Repeat("a", 64)
	DigestB = "sha256:" + strings.Repeat("b", 64)

	// Rewritten are the labels of a namespace that has its images pinned.
	Rewritten = map[string]string{v1alpha1.LabelEnabled: v1alpha1.Enabled, v1alpha1.LabelRewrite: v1alpha1.RewriteLatest}
)

// PinnedDeployment is a Deployment with a container app whose template pins its image to digestA.
func PinnedDeployment(name, image string) *appsv1.Deployment {
	d := Deployment(name, image)
	d.Spec.Template.Spec.Containers[0].Name = "app"
	d.Spec.Template.Annotations = map[string]string{v1alpha1.AnnotationPin + "app": v1alpha1.Pin(image, DigestA)}
	return d
}

// RolledOut is a pod of a Deployment, with an image that the Deployment does not name.
func RolledOut(deployment, image string) *corev1.Pod {
	pod := Controlled(Pod(deployment+"-5d9c-x", image), "ReplicaSet", deployment+"-5d9c")
	return Labelled(pod, appsv1.DefaultDeploymentUniqueLabelKey, "5d9c")
}
