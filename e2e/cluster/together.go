package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// BinariesWith is Binaries with the commands of a module in the place of those of the same names: a cluster with a control plane,
// kubelets and kubectl of another version, and everything else as it is. Name the folder in $KUBE_PREPULL_PROGRAMS.
func BinariesWith(ctx context.Context, m Module, progress io.Writer) (string, error) {
	others, err := Binaries(ctx, progress)
	if err != nil {
		return "", err
	}
	own, err := m.Build(ctx, progress)
	if err != nil {
		return "", err
	}
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	key := sha256.Sum256([]byte(others + "\n" + own))
	dir := filepath.Join(cache, "binaries", filepath.Base(m.Dir)+"-"+hex.EncodeToString(key[:])[:16])
	unlock, err := lockFile(ctx, dir+".lock")
	if err != nil {
		return "", fmt.Errorf("waiting for who puts the same programs together: %w", err)
	}
	defer unlock()
	if complete(dir) {
		return dir, nil
	}
	if err := together(dir, own, others); err != nil {
		return "", fmt.Errorf("putting the programs of %s and others together: %w", m.Dir, err)
	}
	return dir, nil
}

// together makes a folder with the files of others; the first that has a name wins. They are links that nodes can follow, which
// have a /var of their own.
func together(dir string, others ...string) error {
	partial := dir + ".partial"
	if err := os.RemoveAll(partial); err != nil {
		return err
	}
	defer os.RemoveAll(partial)
	if err := os.Mkdir(partial, 0o755); err != nil {
		return err
	}
	for _, other := range others {
		entries, err := os.ReadDir(other)
		if err != nil {
			return err
		}
		for _, e := range entries {
			to := filepath.Join(partial, e.Name())
			if _, err := os.Lstat(to); err == nil {
				continue
			}
			if err := os.Link(filepath.Join(other, e.Name()), to); err != nil {
				return err
			}
		}
	}
	return os.Rename(partial, dir)
}
