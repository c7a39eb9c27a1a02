package prepull

import (
	"cmp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
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

// ImagesOf returns the images that a workload would teach in an opted-in namespace, sorted and each once, as its pods will
// have them. A pin counts whatever the labels of the namespace, which a manifest does not tell: nobody else makes pins.
func ImagesOf(obj metav1.Object) []Image {
	t := templateOf(obj)
	if t.spec == nil {
		return nil
	}
	var secrets []v1alpha1.SecretReference
	for _, s := range t.spec.ImagePullSecrets {
		secrets = append(secrets, v1alpha1.SecretReference{Namespace: obj.GetNamespace(), Name: s.Name})
	}
	placement := placementOf(t.spec, kindOf(obj) == "DaemonSet")
	var images []Image
	for _, name := range imagesOf(obj, map[string]string{v1alpha1.LabelRewrite: v1alpha1.RewriteTags}) {
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
		known.Placements = mergePlacements(known.Placements, image.Placements)
		known.PullSecrets = append(known.PullSecrets, image.PullSecrets...)
		slices.SortFunc(known.PullSecrets, compareSecrets)
		known.PullSecrets = slices.Compact(known.PullSecrets)
	}
	slices.SortFunc(merged, func(a, b *Image) int { return strings.Compare(a.Name, b.Name) })
	result := make([]Image, 0, len(merged))
	for _, image := range merged {
		result = append(result, *image)
	}
	return result
}

// Absent is an image that is known and not to be pulled now.
type Absent struct{ Name, Why string }

// Wanted returns the images that at least one of the nodes should have, or that any node should if there are none given;
// those with the most starts per byte first. If they take more than maxBytes on a node (0 for no limit), those that the
// cluster would choose in a budget of that size are left. Absent are those left out, and why.
func Wanted(objects []v1alpha1.PrepullImage, nodes []corev1.Node, maxBytes int64, now time.Time) ([]Image, []Absent) {
	found, invalid := candidates(objects, now)
	var absent []Absent
	for i := range objects {
		if why, ok := invalid[objects[i].Name]; ok {
			absent = append(absent, Absent{objects[i].Spec.Image, why})
		}
	}
	var able []*candidate
	for _, c := range found {
		if !c.useOn(nodes) {
			continue
		}
		if why := c.whyAbsent(len(nodes) > 0); why != "" {
			absent = append(absent, Absent{c.image, why})
			continue
		}
		able = append(able, c)
	}
	if maxBytes > 0 {
		chosen, over := choose(able, nil, nil, budget{images: len(able), bytes: maxBytes})
		for c, s := range over {
			absent = append(absent, Absent{c.image, strings.ReplaceAll(s.why+s.detail, "maxBytesPerNode", "--max-bytes")})
		}
		able = chosen
	}
	slices.SortFunc(able, func(a, b *candidate) int {
		return cmp.Or(cmp.Compare(b.startsPerByte(), a.startsPerByte()), strings.Compare(a.name, b.name))
	})
	slices.SortFunc(absent, func(a, b Absent) int { return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Why, b.Why)) })
	images := make([]Image, 0, len(able))
	for _, c := range able {
		images = append(images, Image{Name: c.image, Placements: mergePlacements(nil, c.placements), PullSecrets: c.pullSecrets})
	}
	return images, absent
}

// useOn tells whether a pod that uses the image may start on one of the nodes.
func (c *candidate) useOn(nodes []corev1.Node) bool {
	if len(nodes) == 0 || len(c.placements) == 0 {
		return true
	}
	return slices.ContainsFunc(c.placements, func(p v1alpha1.Placement) bool {
		ready := newPlacement(&p)
		return slices.ContainsFunc(nodes, func(n corev1.Node) bool { return fits(&n, ready) })
	})
}

// whyAbsent is why no node gets the image now, in the words of its status; empty if nodes do, or nobody has decided yet. That
// there is no node for it is no reason where it is useful on one that is yet to come.
func (c *candidate) whyAbsent(useful bool) string {
	for _, o := range c.objects {
		for _, condition := range o.Status.Conditions {
			skipped := condition.Type == v1alpha1.ConditionSelected && condition.Status == metav1.ConditionFalse &&
				!(useful && condition.Reason == skippedNoNodes)
			failed := condition.Type == v1alpha1.ConditionPullFailed && condition.Status == metav1.ConditionTrue
			if skipped || failed {
				return condition.Message
			}
		}
	}
	return ""
}
