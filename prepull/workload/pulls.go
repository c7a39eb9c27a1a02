package workload

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// maxPulls is how many containers and image volumes of a workload count, as many as are pinned. A stored object has room for
// twenty thousand, and nobody runs those.
const maxPulls = 500

// pull is an image as a container or a volume of a pod will have it.
type pull struct {
	// of is the name of the container, or of the volume after a slash, which no name has in it.
	of string

	// image is what is pulled, and written what the object says, or said before the pod was rewritten: a pin makes them differ.
	image, written string

	policy corev1.PullPolicy
}

// pullsOf returns what the pods of a workload pull, in a namespace with these labels: for each init container (sidecars
// are among them), container and image volume. A pin of a template counts, whatever the mode: the pods get the digest, so
// the tag is not what they pull. A pod has been rewritten, or never will be, and says itself what it pulls. What the kubelet may
// not pull is not among them, nor what comes after maxPulls.
func pullsOf(obj metav1.Object, namespace map[string]string) []pull {
	t := templateOf(obj)
	if t.spec == nil {
		return nil
	}
	var pins, originals map[string]string
	if KindOf(obj) == "Pod" {
		originals = v1alpha1.Originals(t.annotations[v1alpha1.AnnotationRewritten])
	} else if v1alpha1.RewriteMode(namespace, t.labels, false) != "" {
		pins = t.annotations
	}
	var pulls []pull
	add := func(of, image string, policy corev1.PullPolicy, pin string) {
		if policy == corev1.PullNever || len(pulls) == maxPulls {
			return
		}
		p := pull{of, image, image, policy}
		if original, ok := originals[strings.Replace(of, "/", "volume/", 1)]; ok {
			p.written = original
		}
		if digest, ok := v1alpha1.Pinned(image, pin); ok {
			// Where the policy stays Always, a pod says so: a digest cannot move, and nobody has to look.
			p.image, p.policy = digest, corev1.PullIfNotPresent
		}
		pulls = append(pulls, p)
	}
	for _, c := range t.spec.InitContainers {
		add(c.Name, c.Image, c.ImagePullPolicy, pins[v1alpha1.AnnotationPin+c.Name])
	}
	for _, c := range t.spec.Containers {
		add(c.Name, c.Image, c.ImagePullPolicy, pins[v1alpha1.AnnotationPin+c.Name])
	}
	for _, v := range t.spec.Volumes {
		if v.Image != nil {
			add("/"+v.Name, v.Image.Reference, v.Image.PullPolicy, pins[v1alpha1.AnnotationVolumePin+v.Name])
		}
	}
	return pulls
}

// alwaysPulled returns the images that are pulled at every start, nil if there are none.
func alwaysPulled(pulls []pull) map[string]bool {
	var always map[string]bool
	for _, p := range pulls {
		if p.policy != corev1.PullAlways {
			continue
		}
		if always == nil {
			always = map[string]bool{}
		}
		always[p.image] = true
	}
	return always
}
