// Package workloadtest has workloads for tests, in the namespace shop.
package prepull

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

// specOf is the spec of a pod with one container for each image.
func specOf(images ...string) corev1.PodSpec {
	var spec corev1.PodSpec
	for _, image := range images {
		spec.Containers = append(spec.Containers, corev1.Container{Image: image})
	}
	return spec
}

// inShop is the metadata of an object in a namespace.
func inShop(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID("uid-of-" + name)}
}

// controlled adds a controller to an object.
func controlled[T client.Object](o T, kind, name string) T {
	yes := true
	o.SetOwnerReferences([]metav1.OwnerReference{{Kind: kind, Name: name, UID: types.UID("uid-of-" + name), Controller: &yes}})
	return o
}

// labelled gives an object one label.
func labelled[T client.Object](o T, key, value string) T {
	o.SetLabels(map[string]string{key: value})
	return o
}

// shopPod is a pod of some images.
func shopPod(name string, images ...string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: inShop(name), Spec: specOf(images...)}
}

// shopDeployment is a Deployment of some images.
func shopDeployment(name string, images ...string) *appsv1.Deployment {
	return &appsv1.Deployment{ObjectMeta: inShop(name), Spec: appsv1.DeploymentSpec{Template: corev1.PodTemplateSpec{Spec: specOf(images...)}}}
}

// shopJob is a Job of some images.
func shopJob(name string, images ...string) *batchv1.Job {
	return &batchv1.Job{ObjectMeta: inShop(name), Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: specOf(images...)}}}
}

// requiring is an affinity that requires one of some terms.
func requiring(terms ...corev1.NodeSelectorTerm) *corev1.Affinity {
	return &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: terms},
	}}
}

// inZones requires one of some zones.
func inZones(zones ...string) corev1.NodeSelectorRequirement {
	return corev1.NodeSelectorRequirement{Key: corev1.LabelTopologyZone, Operator: corev1.NodeSelectorOpIn, Values: zones}
}

// requireZones has a term for each list of zones.
func requireZones(lists ...[]string) *corev1.Affinity {
	var terms []corev1.NodeSelectorTerm
	for _, zones := range lists {
		terms = append(terms, corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{inZones(zones...)}})
	}
	return requiring(terms...)
}

// onNode is what the DaemonSet controller puts in its pods.
func onNode(name string) corev1.NodeSelectorRequirement {
	return corev1.NodeSelectorRequirement{Key: metav1.ObjectNameField, Operator: corev1.NodeSelectorOpIn, Values: []string{name}}
}

var (
	digestA = "sha256:" + strings.Repeat("a", 64)
	digestB = "sha256:" + strings.Repeat("b", 64)

	// rewritten are the labels of a namespace that has its images pinned.
	rewritten = map[string]string{v1alpha1.LabelEnabled: v1alpha1.Enabled, v1alpha1.LabelRewrite: v1alpha1.RewriteLatest}
)

// pinnedDeployment is a Deployment with a container app whose template pins its image to digestA.
func pinnedDeployment(name, image string) *appsv1.Deployment {
	d := shopDeployment(name, image)
	d.Spec.Template.Spec.Containers[0].Name = "app"
	d.Spec.Template.Annotations = map[string]string{v1alpha1.AnnotationPin + "app": v1alpha1.Pin(image, digestA)}
	return d
}

// rolledOut is a pod of a Deployment, with an image that the Deployment does not name.
func rolledOut(deployment, image string) *corev1.Pod {
	pod := controlled(shopPod(deployment+"-5d9c-x", image), "ReplicaSet", deployment+"-5d9c")
	return labelled(pod, appsv1.DefaultDeploymentUniqueLabelKey, "5d9c")
}
