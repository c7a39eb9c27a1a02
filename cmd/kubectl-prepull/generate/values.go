package generate

import (
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
	files *valuesFiles

	// registries are what global values call a registry, which charts put in front of images.
	registries []string

	images []workload.Image
	notes  []string
}

// ReadValues finds the images in values files of Helm: at keys that are called image, or end in Image, as one string or as
// registry, repository, tag and digest, with a tag beside it, or below it; and at images, a list or a map of those. What looks
// like an image and is none that can be pulled, or may be another one in the chart, has a note. What the file switches off
// (enabled: false) is left out. For "-" it reads what is piped in.
func ReadValues(files []string, in io.Reader) (*Found, error) {
	read, err := readValuesFiles(files, in)
	if err != nil {
		return nil, err
	}
	v := &values{files: read}
	v.registries = registriesIn(get(read.root, "global"))
	v.walk(read.root, "")
	return &Found{Images: workload.MergeImages(v.images), Notes: v.notes, inValues: true}, nil
}

// registriesIn are the different values of keys that end in registry.
func registriesIn(node *yaml.Node) []string {
	var found []string
	if node == nil || node.Kind != yaml.MappingNode {
		return nil
	}
	for _, e := range entries(node) {
		if strings.HasSuffix(strings.ToLower(e.key.Value), "registry") && scalar(e.value) != "" {
			found = append(found, strings.TrimSuffix(scalar(e.value), "/"))
		}
		found = append(found, registriesIn(e.value)...)
	}
	slices.Sort(found)
	return slices.Compact(found)
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
	if helmValue(get(node, "enabled")) == false {
		v.note(node, path, "is left out: it is not enabled")
		return
	}
	for _, e := range entries(node) {
		key, at := e.key.Value, strings.TrimPrefix(path+"."+e.key.Value, ".")
		switch name := strings.ToLower(key); {
		case otherImage(key, scalar(e.value)) && get(e.value, "repository") == nil:
		case strings.HasSuffix(name, "image"):
			v.add(e.value, at, beside(node, key))
		case strings.HasSuffix(name, "images"):
			v.addAll(e.value, at)
		default:
			v.walk(e.value, at)
		}
	}
}

// beside is what a map says about the image at one of its keys: imageTag about image, and tag too.
func beside(node *yaml.Node, key string) *yaml.Node {
	siblings := &yaml.Node{Kind: yaml.MappingNode}
	for _, piece := range []string{"registry", "tag", "digest"} {
		names := []string{key + strings.ToUpper(piece[:1]) + piece[1:]}
		if key == "image" {
			names = append(names, piece)
		}
		for _, name := range names {
			if value := get(node, name); scalar(value) != "" {
				siblings.Content = append(siblings.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: piece}, value)
				break
			}
		}
	}
	return siblings
}

// settings are what a map of images says about all of them.
var settings = []string{"registry", "repository", "tag", "digest", "pullpolicy", "pullsecret", "pullsecrets", "version", "prefix"}

// addAll takes images in a list or a map.
func (v *values) addAll(node *yaml.Node, path string) {
	if node.Kind == yaml.SequenceNode {
		for i, item := range node.Content {
			v.add(item, fmt.Sprintf("%s[%d]", path, i), nil)
		}
		return
	}
	if node.Kind != yaml.MappingNode {
		return
	}
	if get(node, "repository") != nil {
		v.add(node, path, nil)
		return
	}
	for _, e := range entries(node) {
		if name := strings.ToLower(e.key.Value); e.value.Kind == yaml.ScalarNode && (slices.Contains(settings, name) || strings.HasSuffix(name, "registry")) {
			continue
		}
		v.add(e.value, path+"."+e.key.Value, beside(node, "image"))
	}
}

// add takes what should be an image: a string, to which siblings may add a tag, or a map with its pieces. A map of other things
// may have images in it.
func (v *values) add(at *yaml.Node, path string, siblings *yaml.Node) {
	node := meant(at)
	var image, problem string
	switch {
	case isImage(node):
		image, problem = v.assemble(pieces(node))
	case at.Kind == yaml.MappingNode:
		v.below(at, path)
		return
	case node.Kind == yaml.ScalarNode && node.Tag == "!!str" && node.Value != "":
		named := pieces(siblings)
		named.repository, named.whole = node.Value, true
		image, problem = v.assemble(named)
	default:
		return // null, empty or a switch: nothing to pull
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

// below looks for images in a map that is called image and is none.
func (v *values) below(node *yaml.Node, path string) {
	for _, e := range entries(node) {
		at := path + "." + e.key.Value
		switch {
		case e.value.Kind == yaml.MappingNode && (get(e.value, "repository") != nil || !isImage(e.value)):
			v.add(e.value, at, nil)
		case strings.HasSuffix(strings.ToLower(e.key.Value), "image"):
			v.add(e.value, at, beside(node, e.key.Value))
		}
	}
}

// note tells about a node.
func (v *values) note(node *yaml.Node, path, problem string) {
	if path == "" {
		path = "the file"
	}
	v.notes = append(v.notes, fmt.Sprintf("%s: %s %s", v.files.where(node), path, problem))
}
