package generate

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// Found is what manifests use.
type Found struct {
	// Images are each there once, sorted.
	Images []workload.Image

	// Notes are what a person should know, a line each.
	Notes []string

	// Problems are objects and images that cannot be used, each with its place.
	Problems []error

	inValues  bool
	workloads int
	others    []string
	leftOut   map[string][]string
	loose     []looseNote
}

// looseNote is about an image outside of pod specs.
type looseNote struct{ image, text string }

// item is an object and the document that it is in.
type item struct {
	document *Document
	object   map[string]any
}

// Read finds the images of the workloads among documents. Objects without pods are left out.
func Read(documents []Document, namespace string) *Found {
	found := &Found{leftOut: map[string][]string{}}
	var items []item
	var objects []map[string]any
	for i := range documents {
		for _, object := range Flatten(documents[i].Object) {
			items, objects = append(items, item{&documents[i], object}), append(objects, object)
		}
	}
	family := familyOf(objects)
	var images []workload.Image
	for _, i := range items {
		images = append(images, found.read(i, family, namespace)...)
	}
	found.Images = workload.MergeImages(images)
	found.Notes = append(found.Notes, counted(found.leftOut)...)
	known := map[string]bool{}
	for _, image := range found.Images {
		known[image.Name] = true
	}
	for _, l := range found.loose {
		if !known[l.image] {
			found.Notes = append(found.Notes, l.text)
		}
	}
	return found
}

// Nothing says why there are no images in what was read from a place, nil if there are some.
func (f *Found) Nothing(place string) error {
	switch {
	case len(f.Images) > 0:
		return nil
	case f.inValues:
		return fmt.Errorf("there is no whole image in %s, at no key that is called image or images or ends in Image: "+
			"what the chart uses is in helm template NAME CHART --values FILE | kubectl prepull generate -f -", place)
	case len(f.Problems) > 0:
		return errors.Join(f.Problems...)
	case f.workloads > 0:
		return fmt.Errorf("there is no image to pull in %s: it has pods, and none of their images counts", place)
	case len(f.others) == 0:
		return errors.New("there is nothing in the input: give manifests with -f, or pipe them in; a chart has some after `helm template NAME CHART`")
	}
	others := slices.Compact(slices.Sorted(slices.Values(f.others)))
	if len(others) > 5 {
		others = append(others[:5], "...")
	}
	return fmt.Errorf("there is no workload in %s: no pods come of %s", place, strings.Join(others, ", "))
}

// read returns the images of one object.
func (f *Found) read(i item, family family, namespace string) []workload.Image {
	name := NameOf(i.object)
	if kind, _ := i.object["kind"].(string); kind == "" {
		f.Problems = append(f.Problems, fmt.Errorf("%s: this object has no kind: for a values file of Helm there is --helm-values", i.document.Where()))
		return nil
	}
	shape := shapeOf(i.object)
	for _, l := range shape.loose {
		text := fmt.Sprintf("%s: %s: %s is %s, outside of a pod spec, and is left out: what pods have of it is up to whoever reads it", i.document.WhereIs(l.image), name, l.path, l.image)
		f.loose = append(f.loose, looseNote{l.image, printable(text)})
	}
	if len(shape.templates) == 0 {
		f.others = append(f.others, name)
		return nil
	}
	f.workloads++
	if why := cmp.Or(leftover(i.object), onlyAtHelm(i.object)); why != "" {
		f.leftOut[why] = append(f.leftOut[why], name)
		return nil
	}
	placement, err := placementOf(family.head(i.object), i.object)
	var images []workload.Image
	for _, template := range shape.templates {
		var pod *corev1.PodTemplateSpec
		if err == nil {
			pod, err = podOf(template)
		}
		if err == nil && ofScheduler(i.object) {
			pod.Spec.NodeName = ""
		}
		if err == nil && placement == nil && ofDaemonSet(i.object) {
			placement = []v1alpha1.Placement{workload.PlacementOf(&pod.Spec, true)}
		}
		if err != nil {
			f.Problems = append(f.Problems, fmt.Errorf("%s: %s: %w", i.document.Where(), name, err))
			return images
		}
		images = append(images, f.imagesOf(i, typed(i.object, pod, namespace), pod, placement)...)
	}
	return images
}

// imagesOf returns the images of one pod template of an object. A placement that is not nil is that of all of them.
func (f *Found) imagesOf(i item, owner metav1.Object, pod *corev1.PodTemplateSpec, placement []v1alpha1.Placement) []workload.Image {
	name := NameOf(i.object)
	if os := systemOf(&pod.Spec); os != "" && os != string(corev1.Linux) {
		f.Notes = append(f.Notes, fmt.Sprintf("%s is left out: its pods run on %s", name, os))
		return nil
	}
	if pod.Labels[v1alpha1.LabelEnabled] == v1alpha1.Disabled {
		why := fmt.Sprintf("its pods have the label %s=%s", v1alpha1.LabelEnabled, v1alpha1.Disabled)
		f.leftOut[why] = append(f.leftOut[why], name)
		return nil
	}
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		if c.Image == "" {
			f.Problems = append(f.Problems, fmt.Errorf("%s: %s: container %q has no image", i.document.Where(), name, c.Name))
		}
	}
	var images []workload.Image
	for _, image := range workload.FromManifest(owner) {
		if image.Name == injected {
			f.Notes = append(f.Notes, fmt.Sprintf("%s: %s: the image %q is left out: an injector puts another one there", i.document.Where(), name, injected))
			continue
		}
		err := workload.ValidImage(image.Name)
		if strings.Contains(image.Name, action) {
			err = errNotRendered
		}
		if err != nil {
			f.Problems = append(f.Problems, fmt.Errorf("%s: %s: image %q: %w", i.document.WhereIs(image.Name), name, image.Name, err))
			continue
		}
		if placement != nil {
			image.Placements = placement
		}
		images = append(images, image)
	}
	return images
}

// injected is what Istio's gateways have for an image until a pod is admitted.
const injected = "auto"

// onlyAtHelm says why pods of a chart do not come with it, or nothing if they do: tests, and hooks that run when it goes.
func onlyAtHelm(object map[string]any) string {
	hooks, found := mapAt(object, "metadata", "annotations")["helm.sh/hook"].(string)
	if !found {
		return ""
	}
	for hook := range strings.SplitSeq(hooks, ",") {
		hook = strings.TrimSpace(hook)
		if !strings.HasPrefix(hook, "test") && !strings.HasSuffix(hook, "-delete") {
			return ""
		}
	}
	return "it is a hook of Helm that runs for tests or when the release is deleted"
}

// mapAt is the map at a path, nil if there is none.
func mapAt(object map[string]any, path ...string) map[string]any {
	for _, key := range path {
		object, _ = object[key].(map[string]any)
	}
	return object
}

// Flatten is an object, or the objects of a list, as kubectl get prints it.
func Flatten(object map[string]any) []map[string]any {
	kind, _ := object["kind"].(string)
	items, isList := object["items"].([]any)
	if !isList || !strings.HasSuffix(kind, "List") {
		return []map[string]any{object}
	}
	var objects []map[string]any
	for _, item := range items {
		if o, ok := item.(map[string]any); ok {
			if _, named := o["kind"]; !named {
				o["kind"] = strings.TrimSuffix(kind, "List") // as the API server lists them
			}
			objects = append(objects, Flatten(o)...)
		}
	}
	return objects
}

// NameOf is kind, namespace and name of an object, for messages.
func NameOf(object map[string]any) string {
	kind, _ := object["kind"].(string)
	meta := mapAt(object, "metadata")
	namespace, _ := meta["namespace"].(string)
	name, _ := meta["name"].(string)
	if namespace != "" {
		name = namespace + "/" + name
	}
	return printable(strings.TrimSpace(kind + " " + name))
}

// printable leaves out what could do something to a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s)
}
