package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// blobs is a directory with one file for each blob. The disk handler of go-containerregistry reads a whole blob to
// answer even a HEAD, which takes seconds for a large image.
type blobs string

func (b blobs) path(h v1.Hash) string { return filepath.Join(string(b), h.Hex) }

// Stat is the size of a blob.
func (b blobs) Stat(_ context.Context, _ string, h v1.Hash) (int64, error) {
	info, err := os.Stat(b.path(h))
	if errors.Is(err, os.ErrNotExist) {
		return 0, ggcr.ErrNotFound
	}
	if err != nil {
		return 0, fmt.Errorf("looking up a blob: %w", err)
	}
	return info.Size(), nil
}

// Get opens a blob.
func (b blobs) Get(_ context.Context, _ string, h v1.Hash) (io.ReadCloser, error) {
	return b.open(h)
}

func (b blobs) open(h v1.Hash) (*os.File, error) {
	f, err := os.Open(b.path(h))
	if errors.Is(err, os.ErrNotExist) {
		return nil, ggcr.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("opening a blob: %w", err)
	}
	return f, nil
}

// Put stores a blob. Reading fails if the content is not what the digest says, and then nothing is kept.
func (b blobs) Put(_ context.Context, _ string, h v1.Hash, content io.ReadCloser) error {
	f, err := os.CreateTemp(string(b), "incoming-")
	if err != nil {
		return fmt.Errorf("creating a blob: %w", err)
	}
	defer os.Remove(f.Name()) //nolint:errcheck // gone already if all went well
	_, err = io.Copy(f, content)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("writing a blob: %w", err)
	}
	if err := os.Rename(f.Name(), b.path(h)); err != nil {
		return fmt.Errorf("keeping a blob: %w", err)
	}
	return nil
}

// serve answers downloads itself: net/http knows every form of Range, also the open one with which a client goes on
// after a cut connection.
func (b blobs) serve(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		at := parse(r.URL.Path)
		h, err := v1.NewHash(at.reference)
		if !at.downloads(r.Method) || err != nil {
			next.ServeHTTP(w, r)
			return
		}
		f, err := b.open(h)
		if err != nil {
			next.ServeHTTP(w, r) // which finds the same error, and has the words for it
			return
		}
		defer f.Close() //nolint:errcheck // only read
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Docker-Content-Digest", h.String())
		http.ServeContent(w, r, "", time.Time{}, f)
	})
}
