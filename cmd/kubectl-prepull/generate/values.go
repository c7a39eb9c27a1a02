package generate

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// values are those of a Helm chart, and the images in them. A chart may do with them what it likes: what is found is what
// the usual names of keys say.
type values struct {
	file string

	// registry is the one that charts put in front of images that name none.
	registry string

	images []workload.Image
	notes  []string
}

// ReadValues finds the images in a values file of Helm: at keys that are called image, or end in Image, as one string or as
// registry, repository, tag and digest; and at images, a list or a map of those. What looks like an image and is none that
// can be pulled has a note. What the file switches off (enabled: false) is left out.
func ReadValues(file string, r io.Reader) (*Found, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", file, err)
	}
	if len(text) > maxBytes {
		return nil, fmt.Errorf("%s is larger than %d MiB", file, maxBytes>>20)
	}
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return nil, explain(file, part{line: 1, text: text}, err)
	}
	if len(document.Content) == 0 || document.Content[0].Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s has no values in it", file)
	}
	root := document.Content[0]
	v := &values{file: file, registry: scalar(get(get(root, "global"), "imageRegistry"))}
	v.walk(root, "")
	if len(v.images) == 0 && len(v.notes) == 0 {
		return nil, fmt.Errorf("there is no image in %s: no key is called image or images, or ends in Image", file)
	}
	return &Found{Images: workload.MergeImages(v.images), Notes: v.notes}, nil
}

// walk looks at everything below a node, which is at a path.
func (v *values) walk(node *yaml.Node, path string) {
	switch node.Kind {
	case yaml.AliasNode:
		return // what it stands for is looked at where it is
	case yaml.SequenceNode:
		for i, item := range node.Content {
			v.walk(item, fmt.Sprintf("%s[%d]", path, i))
		}
		return
	case yaml.MappingNode:
	default:
		return
	}
	if scalar(get(node, "enabled")) == "false" {
		v.note(node, path, "is left out: it is not enabled")
		return
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i].Value, node.Content[i+1]
		at := strings.TrimPrefix(path+"."+key, ".")
		switch name := strings.ToLower(key); {
		case strings.HasSuffix(name, "image"):
			v.add(value, at)
		case strings.HasSuffix(name, "images"):
			v.addAll(value, at)
		default:
			v.walk(value, at)
		}
	}
}

// addAll takes a list of images, or a map of them.
func (v *values) addAll(node *yaml.Node, path string) {
	step := 1
	if node.Kind == yaml.MappingNode {
		if get(node, "repository") != nil {
			v.add(node, path)
			return
		}
		step = 2
	}
	for i := step - 1; i < len(node.Content); i += step {
		at := fmt.Sprintf("%s[%d]", path, i)
		if step == 2 {
			at = path + "." + node.Content[i-1].Value
		}
		v.add(node.Content[i], at)
	}
}

// add takes one image, if it is one.
func (v *values) add(at *yaml.Node, path string) {
	image, problem := "", ""
	node := meant(at)
	switch {
	case isImage(node):
		image, problem = v.assemble(node)
	case at.Kind == yaml.MappingNode:
		v.walk(at, path)
		return
	case node.Kind == yaml.ScalarNode && node.Tag == "!!str" && node.Value != "":
		image = node.Value
		if !hasVersion(image) {
			problem = "has no tag: a chart may add one"
		}
	default:
		return // null, empty or a switch: nothing to pull
	}
	if problem == "" && strings.Contains(image, action) {
		problem = "is a template"
	}
	if problem == "" {
		if err := workload.ValidImage(image); err != nil {
			problem = fmt.Sprintf("is %q: %v", image, err)
		}
	}
	if problem != "" {
		v.note(at, path, problem)
		return
	}
	v.images = append(v.images, workload.Image{Name: image})
}

// repositoryKeys are what charts call the name of an image without its tag.
var repositoryKeys = []string{"repository", "image", "name"}

// isImage tells whether a map has a part of an image in it.
func isImage(node *yaml.Node) bool {
	return slices.ContainsFunc(append([]string{"tag", "digest"}, repositoryKeys...), func(key string) bool {
		part := get(node, key)
		return part != nil && part.Kind == yaml.ScalarNode
	})
}

// assemble puts an image together from its parts, or says what is missing.
func (v *values) assemble(node *yaml.Node) (image, problem string) {
	repository := ""
	for _, key := range repositoryKeys {
		repository = cmp.Or(repository, scalar(get(node, key)))
	}
	if repository == "" {
		return "", "has no repository"
	}
	registry := scalar(get(node, "registry"))
	if v.registry != "" {
		registry = v.registry
	}
	if registry != "" {
		repository = strings.TrimSuffix(registry, "/") + "/" + repository
	}
	tag, digest := get(node, "tag"), scalar(get(node, "digest"))
	switch {
	case digest != "":
		return repository + "@" + digest, ""
	case tag != nil && (tag.Tag == "!!float" || tag.Tag == "!!int" && len(tag.Value) > 1 && tag.Value[0] == '0'):
		return "", fmt.Sprintf("has the tag %s, a number that Helm may write in another way: put it in quotes", tag.Value)
	case scalar(tag) != "":
		return repository + ":" + scalar(tag), ""
	case hasVersion(repository):
		return repository, ""
	}
	return "", "has no tag: charts take their appVersion then"
}

func (v *values) note(node *yaml.Node, path, problem string) {
	if path == "" {
		path = "the file"
	}
	v.notes = append(v.notes, fmt.Sprintf("%s:%d: %s %s", v.file, node.Line, path, problem))
}

// hasVersion tells whether an image string has a tag or a digest.
func hasVersion(image string) bool {
	return strings.ContainsAny(image[strings.LastIndexByte(image, '/')+1:], ":@")
}

// get is the value of a key of a map, or of the map that is merged into it; nil if it is not there.
func get(node *yaml.Node, key string) *yaml.Node {
	if value := own(node, key); value != nil {
		return value
	}
	return own(own(node, "<<"), key)
}

func own(node *yaml.Node, key string) *yaml.Node {
	if node = meant(node); node == nil || node.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == key {
			return meant(node.Content[i+1])
		}
	}
	return nil
}

// meant is what an alias stands for.
func meant(node *yaml.Node) *yaml.Node {
	if node != nil && node.Kind == yaml.AliasNode {
		return node.Alias
	}
	return node
}

// scalar is a plain value as it is written, empty if there is none.
func scalar(node *yaml.Node) string {
	if node == nil || node.Kind != yaml.ScalarNode || node.Tag == "!!null" {
		return ""
	}
	return node.Value
}
