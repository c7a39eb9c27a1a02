// Package workload reads what stored objects say about images: which ones their pods pull, who owns the pods, where they may
// run, with which pull secrets, and how much they matter.
package workload

import (
	"cmp"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// template is the part of a workload that decides which images its pods pull.
type template struct {
	labels, annotations map[string]string
	spec                *corev1.PodSpec
}

// templateOf returns the pod template of a workload, or of a pod its own labels, annotations and spec. It has no spec if
// obj is neither.
func templateOf(obj metav1.Object) template {
	of := func(t *corev1.PodTemplateSpec) template { return template{t.Labels, t.Annotations, &t.Spec} }
	switch o := obj.(type) {
	case *corev1.Pod:
		return template{o.Labels, o.Annotations, &o.Spec}
	case *appsv1.Deployment:
		return of(&o.Spec.Template)
	case *appsv1.StatefulSet:
		return of(&o.Spec.Template)
	case *appsv1.DaemonSet:
		return of(&o.Spec.Template)
	case *appsv1.ReplicaSet:
		return of(&o.Spec.Template)
	case *batchv1.Job:
		return of(&o.Spec.Template)
	case *batchv1.CronJob:
		return of(&o.Spec.JobTemplate.Spec.Template)
	}
	return template{}
}

// KindOf names the kind of a typed object, which the API machinery leaves empty on objects that it decodes.
func KindOf(obj metav1.Object) string {
	switch obj.(type) {
	case *corev1.Pod:
		return "Pod"
	case *appsv1.Deployment:
		return "Deployment"
	case *appsv1.StatefulSet:
		return "StatefulSet"
	case *appsv1.DaemonSet:
		return "DaemonSet"
	case *appsv1.ReplicaSet:
		return "ReplicaSet"
	case *batchv1.Job:
		return "Job"
	case *batchv1.CronJob:
		return "CronJob"
	}
	return ""
}

// ImagesOf returns the images that a workload teaches in a namespace with these labels, sorted and without duplicates,
// byte for byte as its pods will have them. Images of ephemeral containers are for debugging and teach nothing, and neither do
// pods of kubectl debug; nor does an object that is being deleted or that opted out.
func ImagesOf(obj metav1.Object, namespace map[string]string) []string {
	t := templateOf(obj)
	if t.spec == nil || obj.GetDeletionTimestamp() != nil || t.labels[v1alpha1.LabelEnabled] == v1alpha1.Disabled || debugs(obj) {
		return nil
	}
	var images []string
	for _, p := range pullsOf(obj, namespace) {
		images = append(images, p.image)
	}
	slices.Sort(images)
	images = slices.Compact(images)
	// A container may leave its image to a later admission plugin, and the empty string sorts first.
	if len(images) > 0 && images[0] == "" {
		images = images[1:]
	}
	return images
}

// debugs tells whether obj is a pod that kubectl debug made (pkg/cmd/debug in k8s.io/kubectl): a toolbox that is gone tomorrow,
// and that goes anywhere.
func debugs(obj metav1.Object) bool {
	return KindOf(obj) == "Pod" && obj.GetLabels()[v1alpha1.LabelManagedBy] == "kubectl-debug"
}

// UserOf returns the workload that obj stands for: the controller of a pod or a job, otherwise obj itself. The
// controller of a ReplicaSet is read off its name, which the Deployment controller makes of the Deployment's name and
// the pod-template-hash. A pod of a job belongs to the job here; whether that has a CronJob is in the job alone. A controller
// that cannot exist is none.
func UserOf(obj metav1.Object) v1alpha1.User {
	itself := v1alpha1.User{Kind: KindOf(obj), Namespace: obj.GetNamespace(), Name: obj.GetName(), UID: obj.GetUID()}
	if itself.Kind != "Pod" && itself.Kind != "Job" {
		return itself
	}
	owner := metav1.GetControllerOfNoCopy(obj)
	if owner == nil || owner.Kind == "Node" || !mayExist(owner.Kind, owner.Name, string(owner.UID)) {
		return itself
	}
	hash := obj.GetLabels()[appsv1.DefaultDeploymentUniqueLabelKey]
	if deployment, ok := strings.CutSuffix(owner.Name, "-"+hash); ok && hash != "" && owner.Kind == "ReplicaSet" {
		return v1alpha1.User{Kind: "Deployment", Namespace: itself.Namespace, Name: deployment}
	}
	return v1alpha1.User{Kind: owner.Kind, Namespace: itself.Namespace, Name: owner.Name, UID: owner.UID}
}

// WithoutUID is what makes two users the same workload, whatever its pods run: a pod knows its Deployment's name but not its UID.
func WithoutUID(u v1alpha1.User) v1alpha1.User {
	u.UID, u.Runs = "", ""
	return u
}

// CompareUsers orders users by kind, namespace and name.
func CompareUsers(a, b v1alpha1.User) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

// Finished is true for a pod or a job that will never start a container again.
func Finished(obj metav1.Object) bool {
	switch o := obj.(type) {
	case *corev1.Pod:
		return o.Status.Phase == corev1.PodSucceeded || o.Status.Phase == corev1.PodFailed
	case *batchv1.Job:
		return slices.ContainsFunc(o.Status.Conditions, func(c batchv1.JobCondition) bool {
			return c.Status == corev1.ConditionTrue && (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed)
		})
	}
	return false
}
