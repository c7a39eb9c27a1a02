package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/mod/modfile"

	"github.com/kube-prepull/kube-prepull/e2e/cluster/gocommand"
)

// Module is a Go module of its own whose commands run beside a cluster.
type Module struct {
	// Dir is its folder.
	Dir string
	// Commands are its main packages, such as ./controller. Default: the tools of its go.mod, Kubernetes' own programs.
	Commands []string
	// Packages is about how many packages they are compiled of, for those who wait.
	Packages int
}

// Build returns a folder with the module's commands. They are built once for each content of its folder, beside the
// cluster's own; progress is told what happens meanwhile.
func (m Module) Build(ctx context.Context, progress io.Writer) (string, error) {
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	name := filepath.Base(m.Dir)
	key, err := m.key()
	if err != nil {
		return "", fmt.Errorf("reading module %s: %w", name, err)
	}
	dir := filepath.Join(cache, name, key)
	if complete(dir) {
		return dir, nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", fmt.Errorf("making the folder of module %s: %w", name, err)
	}
	unlock, err := lockFile(ctx, dir+".lock")
	if err != nil {
		return "", fmt.Errorf("waiting for another build of module %s: %w", name, err)
	}
	defer unlock()
	if complete(dir) {
		return dir, nil
	}
	partial := dir + ".partial"
	if err := os.RemoveAll(partial); err != nil {
		return "", err
	}
	defer os.RemoveAll(partial)
	fmt.Fprintf(progress, "Building %s from source, once (some minutes)\n", name)
	packages, flags, err := m.commands()
	if err != nil {
		return "", fmt.Errorf("reading the tools of module %s: %w", name, err)
	}
	args := append([]string{"build", "-v", "-ldflags", flags, "-o", partial + "/"}, packages...)
	if err := gocommand.Run(ctx, m.Dir, progress, m.Packages, args); err != nil {
		return "", fmt.Errorf("building module %s: %w", name, err)
	}
	return dir, os.Rename(partial, dir)
}

// commands are what is built, and how it is linked.
func (m Module) commands() (packages []string, linkFlags string, err error) {
	if len(m.Commands) > 0 {
		return m.Commands, "-s -w", nil
	}
	content, err := os.ReadFile(filepath.Join(m.Dir, "go.mod"))
	if err != nil {
		return nil, "", err
	}
	mod, err := modfile.Parse("go.mod", content, nil)
	if err != nil {
		return nil, "", err
	}
	return toolPackages(mod), versionFlags(kubernetesVersion(mod)), nil
}

// key stands for everything that the commands are made of.
func (m Module) key() (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, runtime.GOOS, runtime.GOARCH, m.Commands)
	err := filepath.WalkDir(m.Dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		fmt.Fprintln(h, filepath.Base(path), len(content))
		h.Write(content)
		return err
	})
	return hex.EncodeToString(h.Sum(nil))[:16], err
}
