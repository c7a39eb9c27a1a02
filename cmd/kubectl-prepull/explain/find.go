package explain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// maxNames is how many names an error lists.
const maxNames = 8

// unknown is the error for an image that no PrepullImage has.
type unknown struct {
	argument string
	similar  []string
}

func (u unknown) Error() string {
	words := fmt.Sprintf("kube-prepull knows no image %q", u.argument)
	if len(u.similar) > 0 {
		words += "; it knows " + strings.Join(u.similar, ", ")
	}
	return words
}

// find returns the object that an argument means: by the image that pods write, by its own name, or by a part of the image
// that is in no other. A declared object speaks for a learned one of the same image.
func find(objects []v1alpha1.PrepullImage, argument string) (*v1alpha1.PrepullImage, error) {
	sorted := make([]*v1alpha1.PrepullImage, 0, len(objects))
	for i := range objects {
		sorted = append(sorted, &objects[i])
	}
	slices.SortFunc(sorted, func(a, b *v1alpha1.PrepullImage) int {
		return cmp.Or(strings.Compare(a.Spec.Image, b.Spec.Image), cmp.Compare(learned(a), learned(b)), strings.Compare(a.Name, b.Name))
	})
	for _, o := range sorted {
		if o.Spec.Image == argument || o.Name == argument {
			return o, nil
		}
	}
	var found []*v1alpha1.PrepullImage
	for _, o := range sorted {
		again := len(found) > 0 && found[len(found)-1].Spec.Image == o.Spec.Image
		if strings.Contains(o.Spec.Image, argument) && !again {
			found = append(found, o)
		}
	}
	switch len(found) {
	case 0:
		return nil, unknown{argument, similar(sorted, argument)}
	case 1:
		return found[0], nil
	}
	var names []string
	for _, o := range found[:min(len(found), maxNames)] {
		names = append(names, o.Spec.Image)
	}
	if rest := len(found) - len(names); rest > 0 {
		names = append(names, fmt.Sprintf("and %d more", rest))
	}
	return nil, fmt.Errorf("%q is a part of %d images: %s", argument, len(found), strings.Join(names, ", "))
}

func learned(o *v1alpha1.PrepullImage) int {
	if o.Labels[v1alpha1.LabelManagedBy] == v1alpha1.Name {
		return 1
	}
	return 0
}

// similar are images with the name of the wanted one, whatever their registry and their tag.
func similar(sorted []*v1alpha1.PrepullImage, argument string) []string {
	name := lastPart(argument)
	var found []string
	for _, o := range sorted {
		if name != "" && lastPart(o.Spec.Image) == name {
			found = append(found, o.Spec.Image)
		}
	}
	found = slices.Compact(found)
	return found[:min(len(found), maxNames)]
}

// lastPart of the name of an image, without tag and digest.
func lastPart(image string) string {
	name := image[strings.LastIndexByte(image, '/')+1:]
	if i := strings.IndexAny(name, ":@"); i >= 0 {
		name = name[:i]
	}
	return name
}
