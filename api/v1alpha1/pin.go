package v1alpha1

import (
	"regexp"
	"strings"
)

var sha256Digest = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// Pin is the value of the annotation that pins an image to a digest.
func Pin(image, digest string) string { return image + "@" + digest }

// Pinned is what a pod uses in the place of an image with a pin: the image without its tag, byte for byte, and the digest.
// It is false for a pin of another image, for one that is malformed, and for an image that has a digest of its own.
func Pinned(image, pin string) (string, bool) {
	digest, ok := strings.CutPrefix(pin, image+"@")
	if !ok || image == "" || strings.Contains(image, "@") || !sha256Digest.MatchString(digest) {
		return "", false
	}
	repository, _ := SplitTag(image)
	return repository + "@" + digest, true
}

// Originals are the images that the annotation of a rewritten pod says were replaced, by the names of their containers; of a volume it is volume/name.
func Originals(marker string) map[string]string {
	if marker == "" {
		return nil
	}
	images := map[string]string{}
	for _, entry := range strings.Split(marker, ",") {
		if name, image, ok := strings.Cut(entry, "="); ok {
			images[name] = image
		}
	}
	return images
}

// SplitTag is an image without its tag, and the tag; empty if it has none. A colon before the last slash is that of a port.
func SplitTag(image string) (repository, tag string) {
	colon := strings.LastIndexByte(image, ':')
	if colon < 0 || colon < strings.LastIndexByte(image, '/') {
		return image, ""
	}
	return image[:colon], image[colon+1:]
}

// RewriteMode is RewriteLatest, RewriteTags or empty: which images of a workload are pinned, by the labels of its
// namespace and of its pod template. Nothing is where the namespace does not ask for it, and of a workload that another
// controller owns only what its template itself asks for.
func RewriteMode(namespace, template map[string]string, owned bool) string {
	mode := rewriteValue(namespace[LabelRewrite])
	if mode == "" || template[LabelEnabled] == Disabled {
		return ""
	}
	if own, set := template[LabelRewrite]; set {
		return rewriteValue(own)
	}
	if owned {
		return ""
	}
	return mode
}

func rewriteValue(label string) string {
	if label == RewriteLatest || label == RewriteTags {
		return label
	}
	return ""
}
