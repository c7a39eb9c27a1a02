package workload

import (
	"maps"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	extensionsv1beta1 "k8s.io/api/extensions/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// A template predicts what pods pull, and pods correct it: an injector or a mirror policy may have replaced an image when the
// pod was created. A pin replaces nothing: the digest is of the image that the template names.

// Correction is what pods tell about the images of a template. Its zero value is of a template without pods.
type Correction struct {
	// Pods is set if there is a pod that has the template.
	Pods bool

	// run are the images that a pod pulls, and inPlace are by an image of the template what pods have in its place.
	run     map[string]bool
	inPlace map[string]string
}

// Pulls are what a pod pulls, and in which containers and volumes.
type Pulls []pull

// PullsOf a pod.
func PullsOf(pod metav1.Object) Pulls { return pullsOf(pod, nil) }

// Template is what a stored object says about its pods, as far as these can correct it.
type Template struct {
	pulls    Pulls
	revision revision

	// affinity is that of the template where its pods do not show it, and then hidden is set.
	affinity *corev1.NodeSelector
	hidden   bool
}

// TemplateOf is the template of a workload in a namespace with these labels.
func TemplateOf(obj metav1.Object, namespace map[string]string) Template {
	t := Template{pulls: pullsOf(obj, namespace), revision: revisionOf(obj)}
	if KindOf(obj) == "DaemonSet" {
		// Its controller puts the name of the node in the place of the affinity (pkg/controller/daemon/util).
		t.hidden, t.affinity = true, PlacementOf(templateOf(obj).spec, false).NodeAffinity
	}
	return t
}

// Pulls is how many containers and image volumes the template has.
func (t Template) Pulls() int { return len(t.pulls) }

// Has tells whether a pod with these labels was made of the template as it is now, as far as that can be told.
func (t Template) Has(pod map[string]string) bool { return t.revision.has(pod) }

// PlacementOf is where pods may run that have the placement of one of them.
func (t Template) PlacementOf(pod v1alpha1.Placement) v1alpha1.Placement {
	if t.hidden {
		pod.NodeAffinity = t.affinity
	}
	return pod
}

// With is the correction with one more pod that has the template.
func (c Correction) With(t Template, pod Pulls) Correction {
	if !c.Pods {
		c = Correction{Pods: true, run: map[string]bool{}, inPlace: map[string]string{}}
	}
	has := map[string]pull{}
	for _, p := range pod {
		c.run[p.image] = true
		has[p.of] = p
	}
	for _, p := range t.pulls {
		other, found := has[p.of]
		found = found && len(other.image) <= MaxImageLength // the rest is nobody's image, and no status has room for it
		if found && other.image != p.image && other.written != p.written && (c.inPlace[p.image] == "" || other.image < c.inPlace[p.image]) {
			c.inPlace[p.image] = other.image
		}
	}
	return c
}

// Runs tells whether a pod runs an image.
func (c Correction) Runs(image string) bool { return c.run[image] }

// InPlaceOf is what pods have in the place of an image of the template, empty if one runs it, or none is known to have another.
func (c Correction) InPlaceOf(image string) string {
	if c.run[image] {
		return ""
	}
	return c.inPlace[image]
}

// Replaced are the images of the template that no pod runs, each with what pods have in its place.
func (c Correction) Replaced() map[string]string {
	replaced := maps.Clone(c.inPlace)
	maps.DeleteFunc(replaced, func(image, _ string) bool { return c.run[image] })
	return replaced
}

// revision tells the pods that were made of the present template of a workload from those that were made of a former one.
type revision struct {
	all        bool
	key, value string
}

// revisionOf a stored workload. Where its controller has not said yet which revision the template is, no pod has it.
func revisionOf(obj metav1.Object) revision {
	switch o := obj.(type) {
	case *appsv1.Deployment:
		// Its pods name a hash that the Deployment does not. When all are up to date, each has the template.
		updated := o.Status.ObservedGeneration >= o.Generation && o.Status.UpdatedReplicas == o.Status.Replicas
		return revision{all: updated && o.Status.Replicas > 0}
	case *appsv1.StatefulSet:
		if o.Status.ObservedGeneration >= o.Generation {
			return revision{key: appsv1.ControllerRevisionHashLabelKey, value: o.Status.UpdateRevision}
		}
	case *appsv1.DaemonSet:
		// The API server counts the changes of the template (pkg/registry/apps/daemonset/strategy.go).
		return revision{key: extensionsv1beta1.DaemonSetTemplateGenerationKey, value: o.Annotations[appsv1.DeprecatedTemplateGeneration]}
	case *appsv1.ReplicaSet, *batchv1.Job:
		return revision{all: true} // a revision itself
	}
	return revision{}
}

func (r revision) has(pod map[string]string) bool {
	return r.all || r.value != "" && pod[r.key] == r.value
}

// RollsOut tells whether pods of a workload have another template than its present one, as far as its status tells: what they
// run is about to change.
func RollsOut(obj metav1.Object) bool {
	switch o := obj.(type) {
	case *appsv1.Deployment:
		return o.Status.ObservedGeneration < o.Generation || o.Status.UpdatedReplicas != o.Status.Replicas
	case *appsv1.StatefulSet:
		return o.Status.ObservedGeneration < o.Generation || o.Status.UpdateRevision != o.Status.CurrentRevision
	case *appsv1.DaemonSet:
		return o.Status.ObservedGeneration < o.Generation || o.Status.UpdatedNumberScheduled < o.Status.CurrentNumberScheduled
	}
	return false
}
