// Package images makes container images in memory and pushes them: from scratch, of any size, for any platform, with
// nothing in them but what a test asks for. Equal descriptions are equal images, with equal digests.
package images

import (
	"cmp"
	"context"
	"fmt"
	"runtime"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Image describes an image from scratch. The zero value is an image of one almost empty layer.
type Image struct {
	// Size is how many random bytes it has, in all layers together. They do not compress. On the wire it is larger by
	// 2 KB for each layer and by the rest of the image.
	Size int64
	// Seed tells images of the same description apart: another seed is another content.
	Seed uint64
	// Layers is over how many layers Size is spread. Default: 1.
	Layers int
	// Platform is os/architecture. Default: that of this machine, with linux as os.
	Platform string
	// User is the user, or user:group. Default: root.
	User string
	// Entrypoint and Env (as NAME=value) are what a container starts with. Default: none.
	Entrypoint []string
	Env        []string
	// WorkingDir and Volumes (paths) are as an image says them. Default: none.
	WorkingDir string
	Volumes    []string
	// Links are symbolic, and in the layer of the files: path to target.
	Links map[string]string
	// Files are written to a layer of their own: path to content.
	Files map[string]string
	// Binaries are copied from this machine to the same layer and are executable: path in the image to path here.
	Binaries map[string]string
}

// Push builds an image and pushes it to a reference over plain HTTP or HTTPS. Pushing another image to the same tag
// moves the tag. The digest is that of the manifest, as sha256:<hex>.
func (i Image) Push(ctx context.Context, ref string, opts ...remote.Option) (digest string, err error) {
	to, err := name.ParseReference(ref, name.Insecure)
	if err != nil {
		return "", fmt.Errorf("parsing the reference: %w", err)
	}
	img, err := i.build()
	if err != nil {
		return "", err
	}
	if err := remote.Write(to, img, append(opts, remote.WithContext(ctx))...); err != nil {
		return "", fmt.Errorf("pushing %s: %w", ref, err)
	}
	return digestOf(img)
}

// Index describes a multi-platform image: one image for each platform.
type Index []Image

// Push builds the images and pushes them and their index. The digest is that of the index.
func (x Index) Push(ctx context.Context, ref string, opts ...remote.Option) (digest string, err error) {
	to, err := name.ParseReference(ref, name.Insecure)
	if err != nil {
		return "", fmt.Errorf("parsing the reference: %w", err)
	}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, i := range x {
		img, err := i.build()
		if err != nil {
			return "", err
		}
		platform, err := i.platform()
		if err != nil {
			return "", err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: platform}})
	}
	if err := remote.WriteIndex(to, index, append(opts, remote.WithContext(ctx))...); err != nil {
		return "", fmt.Errorf("pushing %s: %w", ref, err)
	}
	return digestOf(index)
}

func digestOf(pushed interface{ Digest() (v1.Hash, error) }) (string, error) {
	h, err := pushed.Digest()
	if err != nil {
		return "", fmt.Errorf("computing the digest: %w", err)
	}
	return h.String(), nil
}

func (i Image) platform() (*v1.Platform, error) {
	p, err := v1.ParsePlatform(cmp.Or(i.Platform, "linux/"+runtime.GOARCH))
	if err != nil {
		return nil, fmt.Errorf("parsing the platform: %w", err)
	}
	return p, nil
}

// build returns the image. Its random layers are made while they are read.
func (i Image) build() (v1.Image, error) {
	platform, err := i.platform()
	if err != nil {
		return nil, err
	}
	layers, err := i.layers()
	if err != nil {
		return nil, err
	}
	volumes := map[string]struct{}{}
	for _, path := range i.Volumes {
		volumes[path] = struct{}{}
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err = mutate.ConfigFile(img, &v1.ConfigFile{
		OS:           platform.OS,
		Architecture: platform.Architecture,
		Variant:      platform.Variant,
		Config:       v1.Config{User: i.User, Entrypoint: i.Entrypoint, Env: i.Env, WorkingDir: i.WorkingDir, Volumes: volumes},
		RootFS:       v1.RootFS{Type: "layers"},
	})
	if err != nil {
		return nil, fmt.Errorf("writing the configuration of an image: %w", err)
	}
	img, err = mutate.AppendLayers(img, layers...)
	if err != nil {
		return nil, fmt.Errorf("adding the layers of an image: %w", err)
	}
	return img, nil
}

func (i Image) layers() ([]v1.Layer, error) {
	n := max(i.Layers, 1)
	var layers []v1.Layer
	if len(i.Files)+len(i.Binaries)+len(i.Links) > 0 {
		files, err := i.filesLayer()
		if err != nil {
			return nil, err
		}
		layers = append(layers, files)
	}
	for k := range n {
		size := i.Size / int64(n)
		if k == n-1 {
			size = i.Size - size*int64(n-1)
		}
		layer, err := newRandomLayer(i.Seed, k, size)
		if err != nil {
			return nil, err
		}
		layers = append(layers, layer)
	}
	return layers, nil
}
