package digest

import (
	"encoding/json"
	"math"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// document is what is read of a manifest, or of an index of manifests for many platforms.
type document struct {
	Config    *descriptor  `json:"config"`
	Layers    []descriptor `json:"layers"`
	Manifests []descriptor `json:"manifests"`
}

type descriptor struct {
	Digest   string `json:"digest"`
	Size     int64  `json:"size"`
	Platform struct {
		OS           string `json:"os"`
		Architecture string `json:"architecture"`
	} `json:"platform"`
}

func parseDocument(body []byte) (document, error) {
	var d document
	if err := json.Unmarshal(body, &d); err != nil {
		return document{}, finding("the manifest is not valid JSON") // the words of the parser may quote it
	}
	return d, nil
}

// platform is the digest of the manifest in an index that is for linux and an architecture.
func (d *document) platform(arch string) (string, error) {
	for _, m := range d.Manifests {
		if m.Platform.OS == "linux" && m.Platform.Architecture == arch {
			if _, err := v1.NewHash(m.Digest); err != nil {
				return "", finding("the index has an invalid digest") // it would become a part of a URL
			}
			return m.Digest, nil
		}
	}
	return "", finding("there is no manifest for linux/" + arch)
}

// bytes is the size of the configuration and of the layers, each once.
func (d *document) bytes() (int64, error) {
	if d.Config == nil {
		return 0, finding("it is not the manifest of an image")
	}
	counted := map[string]bool{}
	var sum int64
	for _, part := range append([]descriptor{*d.Config}, d.Layers...) {
		if part.Size < 0 || part.Size > math.MaxInt64-sum {
			return 0, finding("the manifest has impossible sizes")
		}
		if !counted[part.Digest] {
			counted[part.Digest] = true
			sum += part.Size
		}
	}
	return sum, nil
}
