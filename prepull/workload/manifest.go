package workload

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// Image is an image that should be on nodes before pods need it.
type Image struct {
	// Name is the image string, byte for byte as pods have it.
	Name string

	// Placements are where the pods that use it may run, each once. None means anywhere.
	Placements []v1alpha1.Placement

	// PullSecrets are what the pods pull it with, each once. The namespace is empty if it is not known.
	PullSecrets []v1alpha1.SecretReference
}

// FromManifest returns the images that a workload would teach in an opted-in namespace, sorted and each once, as its pods will
// have them. A pin counts whatever the labels of the namespace, which a manifest does not tell: nobody else makes pins.
func FromManifest(obj metav1.Object) []Image {
	t := templateOf(obj)
	if t.spec == nil {
		return nil
	}
	var secrets []v1alpha1.SecretReference
	for _, s := range t.spec.ImagePullSecrets {
		secrets = append(secrets, v1alpha1.SecretReference{Namespace: obj.GetNamespace(), Name: s.Name})
	}
	placement := PlacementOf(t.spec, false)
	var images []Image
	for _, name := range ImagesOf(obj, map[string]string{v1alpha1.LabelRewrite: v1alpha1.RewriteTags}) {
		images = append(images, Image{Name: name, Placements: []v1alpha1.Placement{placement}, PullSecrets: secrets})
	}
	return images
}

// MergeImages returns the images with each name once, sorted by name, with the placements and secrets of all of that name.
func MergeImages(images []Image) []Image {
	byName := map[string]*Image{}
	var merged []*Image
	for _, image := range images {
		known := byName[image.Name]
		if known == nil {
			known = &Image{Name: image.Name}
			byName[image.Name] = known
			merged = append(merged, known)
		}
		known.Placements = MergePlacements(known.Placements, image.Placements)
		known.PullSecrets = append(known.PullSecrets, image.PullSecrets...)
		slices.SortFunc(known.PullSecrets, CompareSecrets)
		known.PullSecrets = slices.Compact(known.PullSecrets)
	}
	slices.SortFunc(merged, func(a, b *Image) int { return strings.Compare(a.Name, b.Name) })
	result := make([]Image, 0, len(merged))
	for _, image := range merged {
		result = append(result, *image)
	}
	return result
}

// PlacementsOf are where the users of an image may run, together with where a declared one is to go. None means any node
// without a taint.
func PlacementsOf(image *v1alpha1.PrepullImage) []v1alpha1.Placement {
	found := slices.Clone(image.Status.Placements)
	if image.Declared() {
		found = append(found, image.Spec.Placement())
	}
	if len(found) == 0 {
		found = append(found, v1alpha1.Placement{})
	}
	return found
}
