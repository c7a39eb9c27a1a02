package generate

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// shape is what an object has of pods, wherever it stands: workloads of Kubernetes, PodTemplates, and custom resources of all kinds.
type shape struct {
	// templates are pod templates, or pod specs as the spec of one. Objects of all kinds keep them by the same names.
	templates []map[string]any

	// loose are images outside of pod specs: what an operator makes of them is its own affair.
	loose []looseImage
}

// looseImage is an image and its path in the object.
type looseImage struct{ path, image string }

// notWalked are parts of an object that say what is or was, or what it is called, and kinds of which no pods come.
var (
	notWalked = []string{"metadata", "status"}
	noPods    = []string{"ControllerRevision", "CustomResourceDefinition", "Event", "PodMetrics", "Node"}
)

// shapeOf finds the pod specs of an object by what they look like: a list of containers.
func shapeOf(object map[string]any) shape {
	var s shape
	kind, _ := object["kind"].(string)
	switch {
	case slices.Contains(noPods, kind):
	case kind == "Pod":
		s.templates = append(s.templates, object)
	default:
		for _, key := range slices.Sorted(maps.Keys(object)) {
			if !slices.Contains(notWalked, key) {
				s.walk(object[key], key, key, object)
			}
		}
	}
	return s
}

// walk looks at a value, the key that it has in its parent, and its path.
func (s *shape) walk(value any, key, path string, parent map[string]any) {
	switch v := value.(type) {
	case map[string]any:
		if isPodSpec(v) || isBrokenPodSpec(v, key, path) {
			if key != "spec" {
				parent = map[string]any{"spec": v}
			}
			s.templates = append(s.templates, parent)
			return
		}
		for _, k := range slices.Sorted(maps.Keys(v)) {
			s.walk(v[k], k, path+"."+k, v)
		}
	case []any:
		for i, item := range v {
			s.walk(item, "", path+"["+strconv.Itoa(i)+"]", nil)
		}
	case string:
		if isLoose(key, v) {
			s.loose = append(s.loose, looseImage{path, v})
		}
	}
}

// isPodSpec tells whether a map has containers as a pod has them.
func isPodSpec(m map[string]any) bool {
	for _, key := range []string{"containers", "initContainers"} {
		list, ok := m[key].([]any)
		if ok && !slices.ContainsFunc(list, func(item any) bool { _, isMap := item.(map[string]any); return !isMap }) {
			return true
		}
	}
	return false
}

// isBrokenPodSpec tells whether a map is where a pod spec belongs, and has something else for containers.
func isBrokenPodSpec(m map[string]any, key, path string) bool {
	_, found := m["containers"]
	return found && key == "spec" && strings.HasSuffix("."+path, ".template.spec")
}

// isLoose tells whether a key and its value are an image. A word alone may be anything.
func isLoose(key, value string) bool {
	name := strings.ToLower(strings.TrimSuffix(key, "Name"))
	return strings.HasSuffix(name, "image") && !otherImage(key, value) && strings.ContainsAny(value, "/:@") && workload.ValidImage(value) == nil
}

// others are what comes before Image in the names of images that no container runs.
var others = []string{
	"ami", "avatar", "background", "boot", "cloud", "cover", "disk", "guest", "host", "icon", "logo", "machine", "node", "os", "profile", "root", "splash", "vm",
}

// lastWord is the last word of a name in camel case, or with dashes or underscores.
var lastWord = regexp.MustCompile(`([A-Z]?[a-z0-9]+|[A-Z]+)$`)

// otherImage tells whether a key such as diskImage means no container image. What names a registry and a version is one, though.
func otherImage(key, value string) bool {
	if hasRegistry(value) && hasVersion(value) {
		return false
	}
	name := strings.TrimSuffix(strings.TrimSuffix(key, "Name"), "s")
	if len(name) > len("image") {
		name = strings.TrimRight(name[:len(name)-len("image")], "-_")
	}
	return slices.Contains(others, strings.ToLower(lastWord.FindString(name)))
}
