package generate

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// Found is what manifests use.
type Found struct {
	// Images are each there once, sorted.
	Images []workload.Image

	// Notes are what a person should know, a line each.
	Notes []string

	workloads int
	others    []string
}

// templatePaths are where objects keep a pod template: workloads of Kubernetes, PodTemplates, CronJobs, and whatever else
// is made alike, such as the Rollouts of Argo, the CloneSets of OpenKruise and the Services of Knative.
var templatePaths = [][]string{
	{"spec", "template"},
	{"spec", "jobTemplate", "spec", "template"},
	{"template"},
}

// Read finds the images of the workloads among documents. Objects without pods are left out; if there is nothing else, the
// error says so. Errors are one for each image or object that cannot be used.
func Read(documents []Document, namespace string) (*Found, error) {
	found := &Found{}
	var problems []error
	var images []workload.Image
	for _, d := range documents {
		for _, object := range Flatten(d.Object) {
			more, errs := found.read(object, namespace)
			for _, err := range errs {
				problems = append(problems, fmt.Errorf("%s: %w", d.Where(), err))
			}
			images = append(images, more...)
		}
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	if found.workloads == 0 {
		return nil, nothingIn(documents, found.others)
	}
	found.Images = workload.MergeImages(images)
	return found, nil
}

// nothingIn says that no pods come of documents.
func nothingIn(documents []Document, others []string) error {
	if len(documents) == 0 {
		return errors.New("there is nothing in the input: give manifests with -f, or pipe them in")
	}
	slices.Sort(others)
	others = slices.Compact(others)
	if len(others) > 5 {
		others = append(others[:5], "...")
	}
	return fmt.Errorf("there is no workload in %s: no pods come of %s", documents[0].File, strings.Join(others, ", "))
}

// read returns the images of one object, or what is wrong with it.
func (f *Found) read(object map[string]any, namespace string) ([]workload.Image, []error) {
	name := NameOf(object)
	if kind, _ := object["kind"].(string); kind == "" {
		return nil, []error{errors.New("this object has no kind: for a values file of Helm there is --helm-values")}
	}
	owner, err := workloadOf(object, namespace)
	if err != nil {
		return nil, []error{fmt.Errorf("%s: %w", name, err)}
	}
	if owner == nil {
		f.others = append(f.others, name)
		return nil, nil
	}
	f.workloads++
	if os := systemOf(owner); os != "" && os != string(corev1.Linux) {
		f.Notes = append(f.Notes, fmt.Sprintf("%s is left out: its pods run on %s", name, os))
		return nil, nil
	}
	images := workload.FromManifest(owner)
	var problems []error
	for _, image := range images {
		err := workload.ValidImage(image.Name)
		if strings.Contains(image.Name, action) {
			err = errNotRendered
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: image %q: %w", name, image.Name, err))
		}
	}
	return images, problems
}

// workloadOf is an object as a typed one that has its pod template, nil if it has none.
func workloadOf(object map[string]any, namespace string) (metav1.Object, error) {
	var pod corev1.PodTemplateSpec
	content, isPod := object, object["kind"] == "Pod"
	if !isPod {
		if content = templateIn(object); content == nil {
			return nil, nil
		}
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(content, &pod); err != nil {
		return nil, fmt.Errorf("its pod template cannot be read: %w", err)
	}
	if own, _ := mapAt(object, "metadata")["namespace"].(string); own != "" {
		namespace = own
	}
	meta := metav1.ObjectMeta{Namespace: namespace}
	switch {
	case isPod:
		meta.Labels, meta.Annotations = pod.Labels, pod.Annotations
		return &corev1.Pod{ObjectMeta: meta, Spec: pod.Spec}, nil
	case object["kind"] == "DaemonSet":
		return &appsv1.DaemonSet{ObjectMeta: meta, Spec: appsv1.DaemonSetSpec{Template: pod}}, nil
	}
	return &appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{Template: pod}}, nil
}

// templateIn finds the pod template of an object by its shape: something with spec.containers.
func templateIn(object map[string]any) map[string]any {
	for _, path := range templatePaths {
		template := mapAt(object, path...)
		if _, found := mapAt(template, "spec")["containers"]; found {
			return template
		}
	}
	return nil
}

// mapAt is the map at a path, nil if there is none.
func mapAt(object map[string]any, path ...string) map[string]any {
	for _, key := range path {
		object, _ = object[key].(map[string]any)
	}
	return object
}

// systemOf is the operating system that a workload asks for, empty if it does not.
func systemOf(workload metav1.Object) string {
	var spec *corev1.PodSpec
	switch w := workload.(type) {
	case *corev1.Pod:
		spec = &w.Spec
	case *appsv1.DaemonSet:
		spec = &w.Spec.Template.Spec
	case *appsv1.Deployment:
		spec = &w.Spec.Template.Spec
	}
	if spec.OS != nil {
		return string(spec.OS.Name)
	}
	return spec.NodeSelector[corev1.LabelOSStable]
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
