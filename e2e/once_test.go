package e2e

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"github.com/kube-prepull/kube-prepull/e2e/images"
	"github.com/kube-prepull/kube-prepull/e2e/lab"
)

// once builds what tests have in common: each thing when the first test asks for it.
var once builds

// builds are in a folder of this process, which keepTemporary sees to.
type builds struct {
	mu   sync.Mutex
	dir  string
	made map[string]error
}

// product is the folder of kube-prepull's images with a version.
func (b *builds) product(version string) (string, error) {
	return b.build("product-"+version, func(path string) error { return lab.Build(context.Background(), path, version, 1) })
}

// command is the program of a folder below cmd.
func (b *builds) command(name string) (string, error) {
	return b.build(name, func(path string) error {
		return images.GoBuild(context.Background(), filepath.Join("cmd", name), runtime.GOARCH, path)
	})
}

// build makes what is not there yet, one thing after the other: the compiler uses all processors by itself.
func (b *builds) build(name string, build func(path string) error) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.dir == "" {
		dir, err := os.MkdirTemp("", "kpp-")
		if err != nil {
			return "", err
		}
		b.dir, b.made = dir, map[string]error{}
	}
	path := filepath.Join(b.dir, name)
	err, made := b.made[name]
	if !made {
		err = build(path)
		b.made[name] = err
	}
	return path, err
}
