package digest

import (
	"encoding/json"
	"errors"
	"io"
	"math"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// maxParts is how many members, layers and manifests of an index are read. Container runtimes mount some hundred layers at most.
const maxParts = 1000

// document is what is kept of a manifest, or of an index of manifests for many platforms. Of what is in it nothing is kept, so that it
// takes no more memory than it has on the wire.
type document struct {
	index    bool
	platform string // digest of the manifest in an index that is for linux and the architecture, empty if there is none

	image bool
	bytes int64 // of the configuration and of the layers, each once
}

type descriptor struct {
	Digest   string `json:"digest"`
	Size     int64  `json:"size"`
	Platform struct {
		OS           string `json:"os"`
		Architecture string `json:"architecture"`
	} `json:"platform"`
}

// errNotJSON has none of the words of the parser, which may quote what it reads.
const errNotJSON = finding("the manifest is not valid JSON")

// readDocument reads a manifest to its end. The error of a body that could not be read is that of its reader.
func readDocument(body io.Reader, arch string) (document, error) {
	d := &documentReader{Decoder: json.NewDecoder(body), arch: arch, counted: map[string]bool{}}
	err := d.object()
	if err == nil {
		if _, err = d.Token(); err == io.EOF {
			return d.document, nil
		}
	}
	var broken *json.SyntaxError
	var other *json.UnmarshalTypeError
	if err == nil || errors.As(err, &broken) || errors.As(err, &other) {
		return document{}, errNotJSON
	}
	return document{}, err
}

// documentReader reads one value after the other, and keeps none.
type documentReader struct {
	*json.Decoder
	document

	arch    string
	parts   int
	counted map[string]bool // digests of what is in bytes
}

// ignored is a value of any kind that is not looked at.
type ignored struct{}

func (*ignored) UnmarshalJSON([]byte) error { return nil }

// object reads the members of the only object of a manifest.
func (d *documentReader) object() error {
	if err := d.delimiter('{'); err != nil {
		return err
	}
	for d.More() {
		if err := d.part(); err != nil {
			return err
		}
		name, err := d.Token()
		if err != nil {
			return err
		}
		switch name {
		case "config":
			d.image = true
			err = d.descriptor(d.count)
		case "layers":
			err = d.list(d.count)
		case "manifests":
			err = d.list(d.choose)
		default:
			err = d.Decode(&ignored{})
		}
		if err != nil {
			return err
		}
	}
	return d.delimiter('}')
}

func (d *documentReader) delimiter(want json.Delim) error {
	token, err := d.Token()
	if err == nil && token != want {
		return errNotJSON
	}
	return err
}

// list reads descriptors, as many as there may be.
func (d *documentReader) list(use func(descriptor) error) error {
	token, err := d.Token()
	if err != nil || token == nil { // null is an empty list
		return err
	}
	if token != json.Delim('[') {
		return errNotJSON
	}
	for d.More() {
		if err := d.descriptor(use); err != nil {
			return err
		}
	}
	return d.delimiter(']')
}

// part is one more of what a manifest may not have very many of.
func (d *documentReader) part() error {
	if d.parts++; d.parts > maxParts {
		return finding("the manifest has too many parts")
	}
	return nil
}

func (d *documentReader) descriptor(use func(descriptor) error) error {
	if err := d.part(); err != nil {
		return err
	}
	var one descriptor
	if err := d.Decode(&one); err != nil {
		return err
	}
	return use(one)
}

// count adds the size of a part of an image.
func (d *documentReader) count(part descriptor) error {
	if part.Size < 0 || part.Size > math.MaxInt64-d.bytes {
		return finding("the manifest has impossible sizes")
	}
	if !d.counted[part.Digest] {
		d.counted[part.Digest] = true
		d.bytes += part.Size
	}
	return nil
}

// choose takes the first manifest of an index that is for linux and the architecture.
func (d *documentReader) choose(m descriptor) error {
	d.index = true
	if d.platform != "" || m.Platform.OS != "linux" || m.Platform.Architecture != d.arch {
		return nil
	}
	if _, err := v1.NewHash(m.Digest); err != nil {
		return finding("the index has an invalid digest") // it would become a part of a URL
	}
	d.platform = m.Digest
	return nil
}
