package webhook

import (
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// podPlan is what becomes of a pod.
type podPlan struct {
	pod *template

	// ifNotPresent is set if containers whose image is replaced need not be pulled at every start.
	ifNotPresent bool

	operations []operation
	marker     []string
	questions  []question
}

// builtIn is true for the controllers whose templates are pinned, and which do not mind that their pods differ from them.
func builtIn(owner *metav1.OwnerReference) bool {
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

// planPod decides about the images of a new pod. A pod of a built-in controller has the pins of its template, and what
// these leave out stays a tag: all pods of a revision run the same. A bare pod has questions. Pods of other controllers,
// which may compare them with what they asked for, are left alone.
func planPod(w *rawObject, mode string, ifNotPresent bool) podPlan {
	p := podPlan{pod: &w.template, ifNotPresent: ifNotPresent}
	if w.template.mirror || w.owned && (w.controller == nil || !builtIn(w.controller)) {
		return p
	}
	done := originals(w.template.annotations[v1alpha1.AnnotationRewritten])
	for _, c := range w.template.containers {
		if _, found := done[c.name]; found || c.policy == corev1.PullNever {
			continue
		}
		if image, ok := w.template.pinned(&c); ok {
			p.replace(&c, image)
		} else if !w.owned && pinnable(&c, mode) {
			p.questions = append(p.questions, question{container: c})
		}
	}
	return p
}

// settle replaces the image of a question by one with the digest.
func (p *podPlan) settle(q question, digest string) {
	if image, ok := v1alpha1.Pinned(q.image, v1alpha1.Pin(q.image, digest)); ok {
		p.replace(&q.container, image)
	}
}

func (p *podPlan) replace(c *container, image string) {
	p.operations = append(p.operations, operation{"replace", c.imagePath, image})
	if p.ifNotPresent && c.policy == corev1.PullAlways {
		p.operations = append(p.operations, operation{"replace", c.policyPath, corev1.PullIfNotPresent})
	}
	p.marker = append(p.marker, c.name+"="+c.image)
}

// patch is the whole of it, the marker included.
func (p *podPlan) patch() []operation {
	if len(p.marker) == 0 {
		return nil
	}
	if before := p.pod.annotations[v1alpha1.AnnotationRewritten]; before != "" {
		p.marker = append([]string{before}, p.marker...)
	}
	set := map[string]string{v1alpha1.AnnotationRewritten: strings.Join(p.marker, ",")}
	if !p.pod.fits(set) {
		return nil
	}
	return append(p.operations, p.pod.annotate(set, nil)...)
}

// originals are the images that a marker says were replaced, by the names of their containers.
func originals(marker string) map[string]string {
	if marker == "" {
		return nil
	}
	images := map[string]string{}
	for _, entry := range strings.Split(marker, ",") {
		if name, image, ok := strings.Cut(entry, "="); ok {
			images[name] = image
		}
	}
	return images
}

// isDigestOf is true for what an image is replaced by, and not for another that somebody gave the pod since.
func isDigestOf(image, replacement string) bool {
	repository, _ := v1alpha1.SplitTag(image)
	return strings.HasPrefix(replacement, repository+"@")
}

// keepPod holds a rewritten pod to its digests when whoever made it applies it again as it was: that is no change, and
// must neither restart a container nor be refused because of a pull policy.
func keepPod(pod, old *template) []operation {
	marker := old.annotations[v1alpha1.AnnotationRewritten]
	replaced := originals(marker)
	var operations []operation
	for _, c := range pod.containers {
		original, found := replaced[c.name]
		before := old.container(c.pin)
		if !found || before == nil {
			continue
		}
		if c.image == original && isDigestOf(original, before.image) {
			operations = append(operations, operation{"replace", c.imagePath, before.image})
		}
		if c.policy == corev1.PullAlways && before.policy == corev1.PullIfNotPresent {
			operations = append(operations, operation{"replace", c.policyPath, before.policy})
		}
	}
	if pod.annotations[v1alpha1.AnnotationRewritten] == "" && marker != "" {
		operations = append(operations, pod.annotate(map[string]string{v1alpha1.AnnotationRewritten: marker}, nil)...)
	}
	return operations
}
