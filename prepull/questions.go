package prepull

import (
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// OptedIn tells whether kube-prepull, installed in its own namespace, learns the images of a namespace.
func OptedIn(namespace metav1.Object, own string) bool { return optedIn(namespace, own) }

// ListOf returns the images in the list of a prepull DaemonSet, in order: the names of the containers are those of the
// images.
func ListOf(ds *appsv1.DaemonSet) []corev1.Container { return listed(ds) }

// PlacementsOf are where the users of an image may run, together with where a declared one is to go. None means any node
// without a taint.
func PlacementsOf(image *v1alpha1.PrepullImage) []v1alpha1.Placement {
	found := slices.Clone(image.Status.Placements)
	if !managed(image) {
		found = append(found, v1alpha1.Placement{NodeSelector: image.Spec.NodeSelector, Tolerations: image.Spec.Tolerations})
	}
	if len(found) == 0 {
		found = append(found, v1alpha1.Placement{})
	}
	return found
}
