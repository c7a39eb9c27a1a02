package images

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strings"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// randomLayer is a tar of one file of random bytes. It is never in memory as a whole: each reader makes the same bytes
// again. It is not compressed, since it could not be made smaller, so its digest is its diff id.
type randomLayer struct {
	head   []byte
	key    [32]byte
	random int64
	tail   []byte
	digest func() (v1.Hash, error)
}

// newRandomLayer returns the k-th layer of so many random bytes for a seed.
func newRandomLayer(seed uint64, k int, size int64) (*randomLayer, error) {
	var head bytes.Buffer
	err := tar.NewWriter(&head).WriteHeader(&tar.Header{Name: fmt.Sprintf("random-%d-%d", seed, k), Mode: 0o644, Size: size})
	if err != nil {
		return nil, fmt.Errorf("describing a random layer: %w", err)
	}
	const block = 512 // a tar is made of blocks, and ends with two empty ones
	l := &randomLayer{head: head.Bytes(), random: size, tail: make([]byte, (block-size%block)%block+2*block)}
	binary.LittleEndian.PutUint64(l.key[0:], seed)
	binary.LittleEndian.PutUint64(l.key[8:], uint64(k))
	l.digest = sync.OnceValues(func() (v1.Hash, error) {
		h, _, err := v1.SHA256(l.read())
		return h, err
	})
	return l, nil
}

func (l *randomLayer) read() io.Reader {
	return io.MultiReader(
		bytes.NewReader(l.head),
		io.LimitReader(rand.NewChaCha8(l.key), l.random),
		bytes.NewReader(l.tail),
	)
}

// Digest is the digest of the tar.
func (l *randomLayer) Digest() (v1.Hash, error) { return l.digest() }

// DiffID is the digest of the tar.
func (l *randomLayer) DiffID() (v1.Hash, error) { return l.digest() }

// Compressed is the tar.
func (l *randomLayer) Compressed() (io.ReadCloser, error) { return io.NopCloser(l.read()), nil }

// Uncompressed is the tar.
func (l *randomLayer) Uncompressed() (io.ReadCloser, error) { return io.NopCloser(l.read()), nil }

// Size is the size of the tar.
func (l *randomLayer) Size() (int64, error) {
	return int64(len(l.head)) + l.random + int64(len(l.tail)), nil
}

// MediaType says that it is not compressed.
func (l *randomLayer) MediaType() (types.MediaType, error) { return types.OCIUncompressedLayer, nil }

// filesLayer returns a layer of links, of files with the given content, and of executables copied from this machine.
func (i Image) filesLayer() (v1.Layer, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	write := func(name string, header tar.Header, content []byte) error {
		// Absolute paths and .. have no meaning in a layer.
		header.Name, header.Size = strings.TrimPrefix(path.Clean("/"+name), "/"), int64(len(content))
		if err := w.WriteHeader(&header); err != nil {
			return fmt.Errorf("writing %s to a layer: %w", name, err)
		}
		if _, err := w.Write(content); err != nil {
			return fmt.Errorf("writing %s to a layer: %w", name, err)
		}
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(i.Links)) {
		if err := write(name, tar.Header{Typeflag: tar.TypeSymlink, Mode: 0o777, Linkname: i.Links[name]}, nil); err != nil {
			return nil, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(i.Files)) {
		if err := write(name, tar.Header{Mode: 0o644}, []byte(i.Files[name])); err != nil {
			return nil, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(i.Binaries)) {
		content, err := os.ReadFile(i.Binaries[name])
		if err != nil {
			return nil, fmt.Errorf("reading a binary for a layer: %w", err)
		}
		if err := write(name, tar.Header{Mode: 0o755}, content); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("ending a layer: %w", err)
	}
	return static.NewLayer(out.Bytes(), types.OCIUncompressedLayer), nil
}
