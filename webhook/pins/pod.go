package pins

import (
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// PodPlan is what becomes of a pod.
type PodPlan struct {
	pod *Template

	// ifNotPresent is set if containers whose image is replaced need not be pulled at every start.
	ifNotPresent bool

	operations []Operation
	Marker     []string
	Questions  []Question
}

// BuiltIn is true for the controllers whose templates are pinned, and which do not mind that their pods differ from them.
func BuiltIn(owner *metav1.OwnerReference) bool {
	group, err := schema.ParseGroupVersion(owner.APIVersion)
	if err != nil {
		return false
	}
	switch owner.Kind {
	case "ReplicaSet", "StatefulSet", "DaemonSet":
		return group.Group == appsv1.GroupName
	case "Job":
		return group.Group == batchv1.GroupName
	}
	return false
}

// PlanPod decides about the images of a new pod. A pod of a built-in controller has the pins of its template, and what
// these leave out stays a tag: all pods of a revision run the same. A bare pod has questions. Pods of other controllers,
// which may compare them with what they asked for, are left alone.
func PlanPod(w *Object, mode string, ifNotPresent bool) PodPlan {
	p := PodPlan{pod: &w.Template, ifNotPresent: ifNotPresent}
	if w.Template.mirror || w.owned && (w.Controller == nil || !BuiltIn(w.Controller)) {
		return p
	}
	done := v1alpha1.Originals(w.Template.annotations[v1alpha1.AnnotationRewritten])
	for _, c := range w.Template.Containers {
		if _, found := done[c.Name]; found || c.Policy == corev1.PullNever {
			continue
		}
		if image, ok := w.Template.Pinned(&c); ok {
			p.replace(&c, image)
		} else if !w.owned && pinnable(&c, mode) {
			p.Questions = append(p.Questions, Question{Container: c})
		}
	}
	return p
}

// Settle replaces the image of a question by one with the digest.
func (p *PodPlan) Settle(q Question, digest string) {
	if image, ok := v1alpha1.Pinned(q.Image, v1alpha1.Pin(q.Image, digest)); ok {
		p.replace(&q.Container, image)
	}
}

func (p *PodPlan) replace(c *Container, image string) {
	p.operations = append(p.operations, Operation{"replace", c.imagePath, image})
	if p.ifNotPresent && c.Policy == corev1.PullAlways {
		p.operations = append(p.operations, Operation{"replace", c.policyPath, corev1.PullIfNotPresent})
	}
	p.Marker = append(p.Marker, c.Name+"="+c.Image)
}

// Patch is the whole of it, the marker included.
func (p *PodPlan) Patch() []Operation {
	if len(p.Marker) == 0 {
		return nil
	}
	if before := p.pod.annotations[v1alpha1.AnnotationRewritten]; before != "" {
		p.Marker = append([]string{before}, p.Marker...)
	}
	set := map[string]string{v1alpha1.AnnotationRewritten: strings.Join(p.Marker, ",")}
	if !p.pod.Fits(set) {
		return nil
	}
	return append(p.operations, p.pod.Annotate(set, nil)...)
}

// isDigestOf is true for what an image is replaced by, and not for another that somebody gave the pod since.
func isDigestOf(image, replacement string) bool {
	repository, _ := v1alpha1.SplitTag(image)
	return strings.HasPrefix(replacement, repository+"@")
}

// KeepPod holds a rewritten pod to its digests when whoever made it applies it again as it was: that is no change, and
// must neither restart a container nor be refused because of a pull policy.
func KeepPod(pod, old *Template) []Operation {
	marker := old.annotations[v1alpha1.AnnotationRewritten]
	replaced := v1alpha1.Originals(marker)
	var operations []Operation
	for _, c := range pod.Containers {
		original, found := replaced[c.Name]
		before := old.container(c.Pin)
		if !found || before == nil {
			continue
		}
		if c.Image == original && isDigestOf(original, before.Image) {
			operations = append(operations, Operation{"replace", c.imagePath, before.Image})
		}
		if c.Policy == corev1.PullAlways && before.Policy == corev1.PullIfNotPresent {
			operations = append(operations, Operation{"replace", c.policyPath, before.Policy})
		}
	}
	if pod.annotations[v1alpha1.AnnotationRewritten] == "" && marker != "" {
		operations = append(operations, pod.Annotate(map[string]string{v1alpha1.AnnotationRewritten: marker}, nil)...)
	}
	return operations
}
