package workload

import (
	"cmp"
	"strconv"

	corev1 "k8s.io/api/core/v1"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// DefaultAccount is the service account of pods that name none.
const DefaultAccount = "default"

// Requirements is what a stored object says about its pods besides their images and their user: where they may run, what
// they pull with, and how much they matter.
type Requirements struct {
	Placement v1alpha1.Placement

	// Secrets are the pull secrets, in the namespace of the object. If account is set there are none, and pods get
	// those of that service account when they are created.
	Secrets []v1alpha1.SecretReference
	Account string

	priority int32
	need     Need

	// Always are the images that a container pulls at every start, as ImagesOf has them.
	Always map[string]bool
}

// RequirementsOf returns the requirements of a workload or a pod in a namespace with these labels.
func RequirementsOf(obj metav1.Object, namespace map[string]string) Requirements {
	t := templateOf(obj)
	if t.spec == nil {
		return Requirements{}
	}
	r := Requirements{
		Placement: placementIn(obj, t.spec),
		priority:  priorityOf(t.annotations),
		need:      NeedOf(t.annotations),
		Always:    alwaysPulled(pullsOf(obj, namespace)),
	}
	var names []string
	for _, s := range t.spec.ImagePullSecrets {
		names = append(names, s.Name)
	}
	r.Secrets = SecretsIn(obj.GetNamespace(), names)
	if KindOf(obj) != "Pod" && len(t.spec.ImagePullSecrets) == 0 {
		r.Account = cmp.Or(t.spec.ServiceAccountName, DefaultAccount)
	}
	return r
}

// placementIn is the placement of an object's pods. What a RuntimeClass asks for was added to a stored pod when it was created.
// The scheduler's work is left out: the node that it chose, and the extended resources that it took from resource claims, which
// no node offers.
func placementIn(obj metav1.Object, spec *corev1.PodSpec) v1alpha1.Placement {
	pod, stored := obj.(*corev1.Pod)
	if !stored {
		return PlacementOf(spec, false)
	}
	asked := *spec
	asked.RuntimeClassName = nil
	if !namesNode(pod) {
		asked.NodeName = ""
	}
	p := PlacementOf(&asked, ofDaemonSet(pod))
	p.Resources = withoutClaimed(p.Resources, pod)
	return p
}

// ofDaemonSet is true for a pod of a DaemonSet. Its controller puts the node's name in the place of the affinity that the
// template requires, so where such pods may run is in the template alone.
func ofDaemonSet(pod *corev1.Pod) bool {
	owner := metav1.GetControllerOfNoCopy(pod)
	return owner != nil && owner.Kind == "DaemonSet"
}

// priorityOf reads the annotation of a pod or its template; what is not a whole number of 32 bits counts as 0.
func priorityOf(annotations map[string]string) int32 {
	n, err := strconv.ParseInt(annotations[v1alpha1.AnnotationPriority], 10, 32)
	if err != nil {
		return 0
	}
	return int32(n)
}

// SecretNames are those of the pull secrets that pods of a service account get.
func SecretNames(account *corev1.ServiceAccount) []string {
	var names []string
	for _, s := range account.ImagePullSecrets {
		if s.Name != "" {
			names = append(names, s.Name)
		}
	}
	return names
}

// SecretsIn are the Secrets of a namespace with these names, of which some may be empty. What cannot be a name is left out.
func SecretsIn(namespace string, names []string) []v1alpha1.SecretReference {
	var secrets []v1alpha1.SecretReference
	for _, name := range names {
		if name != "" && mayExist(name) {
			secrets = append(secrets, v1alpha1.SecretReference{Namespace: namespace, Name: name})
		}
	}
	return mergeSecrets(nil, secrets)
}

// DemandFor is what the workload asks for one of its images.
func (f Requirements) DemandFor(image string) Demand {
	return Demand{
		Placements:  []v1alpha1.Placement{f.Placement},
		PullSecrets: f.Secrets,
		Priority:    f.priority,
		Need:        f.need,
		AlwaysPull:  f.Always[image],
	}
}
