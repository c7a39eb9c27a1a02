package generate

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// repositoryKeys are what charts call the part of an image between registry and tag; name is rarer than the others, and may be
// something else beside them.
var repositoryKeys = []string{"repository", "image", "name"}

// isImage tells whether a map describes an image.
func isImage(node *yaml.Node) bool {
	return slices.ContainsFunc(append([]string{"tag", "digest"}, repositoryKeys...), func(key string) bool {
		part := get(node, key)
		return part != nil && part.Kind == yaml.ScalarNode
	})
}

// imagePieces are what values say about one image.
type imagePieces struct {
	registry, repository, digest string
	tag                          *yaml.Node

	// whole tells whether the repository is a string that may be a whole image.
	whole bool

	// override is a whole image that replaces the rest, and addition a key of something that is added to the tag.
	override, addition string
}

// pieces reads a map that describes an image, or a part of one.
func pieces(node *yaml.Node) imagePieces {
	p := imagePieces{registry: scalar(get(node, "registry")), tag: get(node, "tag"), override: scalar(get(node, "override"))}
	for _, key := range repositoryKeys {
		if p.repository == "" {
			p.repository = scalar(get(node, key))
		}
	}
	for _, key := range []string{"digest", "sha", "sha256"} {
		if p.digest == "" {
			p.digest = scalar(get(node, key))
		}
	}
	if bareHash.MatchString(p.digest) {
		p.digest = "sha256:" + p.digest
	}
	if helmValue(get(node, "useDigest")) == false {
		p.digest = ""
	}
	for _, key := range []string{"flavor", "variant", "tagSuffix", "suffix"} {
		if scalar(get(node, key)) != "" {
			p.addition = key
		}
	}
	return p
}

var (
	bareHash = regexp.MustCompile(`^[0-9a-f]{64}$`)

	// placeholder is a tag that a release replaces.
	placeholder = regexp.MustCompile(`(?i)^(set|replace|change|filled|override|update)[-_.]?(by|me|this|in|with)\b|^(changeme|placeholder|todo|tbd)$`)
)

// assemble puts an image together, or says why it is not known.
func (v *values) assemble(p imagePieces) (image, problem string) {
	if p.override != "" {
		p = imagePieces{repository: p.override, whole: true}
	}
	switch {
	case p.repository == "":
		return "", "has no repository"
	case strings.Contains(p.repository+p.registry+scalar(p.tag), action):
		return "", "is a template"
	case p.addition != "":
		return "", fmt.Sprintf("has a %s, which the chart may add to the tag", p.addition)
	}
	repository, problem := v.withRegistry(p)
	if problem != "" {
		return "", problem
	}
	tag := scalar(p.tag)
	switch {
	case hasVersion(repository):
		return repository, ""
	case tag != written(p.tag):
		return "", fmt.Sprintf("has the tag %s, which Helm writes as %s: put it in quotes", tag, written(p.tag))
	case placeholder.MatchString(tag):
		return "", fmt.Sprintf("has the tag %s, which a release replaces", tag)
	case tag != "" && p.digest != "":
		return repository + ":" + tag + "@" + p.digest, ""
	case p.digest != "":
		return repository + "@" + p.digest, ""
	case tag != "":
		return repository + ":" + tag, ""
	case p.whole:
		return "", "has no tag: a chart may add one"
	}
	return "", "has no tag: charts take their appVersion then"
}

// withRegistry is the repository with its registry: the global one before its own.
func (v *values) withRegistry(p imagePieces) (repository, problem string) {
	registry := strings.TrimSuffix(p.registry, "/")
	switch {
	case p.whole && hasRegistry(p.repository):
		return p.repository, ""
	case len(v.registries) > 1 && !hasRegistry(p.repository):
		return "", "may have one of the global registries before it: " + strings.Join(v.registries, ", ")
	case len(v.registries) == 1 && hasRegistry(p.repository):
		return "", fmt.Sprintf("names a registry, and the chart may put the global one (%s) before it or in its place", v.registries[0])
	case len(v.registries) == 1 && p.whole:
		return "", fmt.Sprintf("is one string, and the chart may put the global registry (%s) before it", v.registries[0])
	case len(v.registries) == 1:
		registry = v.registries[0]
	}
	if registry == "" {
		return p.repository, ""
	}
	return registry + "/" + p.repository, ""
}

// hasRegistry tells whether an image begins with the name of a registry, as container runtimes read it.
func hasRegistry(image string) bool {
	first, _, found := strings.Cut(image, "/")
	return found && (strings.ContainsAny(first, ".:") || first == "localhost")
}

// hasVersion tells whether an image has a tag or a digest.
func hasVersion(image string) bool {
	return strings.ContainsAny(image[strings.LastIndexByte(image, '/')+1:], ":@")
}
