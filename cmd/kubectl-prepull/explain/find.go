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
	nearest  []string
}

func (u unknown) Error() string {
	words := fmt.Sprintf("kube-prepull knows no image %q", u.argument)
	if len(u.nearest) > 0 {
		words += "; the nearest are " + strings.Join(u.nearest, ", ")
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
		return nil, unknown{argument, nearest(sorted, argument)}
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

// nearest are the images that were perhaps meant: their last part differs by a few letters.
func nearest(sorted []*v1alpha1.PrepullImage, argument string) []string {
	type near struct {
		image    string
		distance int
	}
	var found []near
	for _, o := range sorted {
		a, b := lastPart(argument), lastPart(o.Spec.Image)
		if d := distance(a, b); 3*d <= len(a) {
			found = append(found, near{o.Spec.Image, d})
		}
	}
	slices.SortStableFunc(found, func(a, b near) int { return cmp.Compare(a.distance, b.distance) })
	var names []string
	for _, n := range found {
		names = append(names, n.image)
	}
	names = slices.Compact(names)
	return names[:min(len(names), 3)]
}

// lastPart of an image is its repository without the folders, and its tag: what people mistype.
func lastPart(image string) string { return image[strings.LastIndexByte(image, '/')+1:] }

// distance is how many letters have to be put in, taken out or replaced to make one word of another (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0]++
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
