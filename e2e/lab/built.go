package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"

	"github.com/kube-prepull/kube-prepull/e2e/cluster"
	"github.com/kube-prepull/kube-prepull/e2e/images"
)

// testClockSpeed is how many times as fast as production's the clocks of the managers are that most tests install: nearly
// every wait of a test is one of them.
const testClockSpeed = 4

// built is what tests have in common: each thing is made when the first test of any process asks for it.
var built builds

type builds struct{ mu sync.Mutex }

// images is the folder of kube-prepull's images with a version.
func (b *builds) images(version string, clockSpeed int) (string, error) {
	name := fmt.Sprintf("images-%s-%d", version, clockSpeed)
	return b.build(name, func(path string) error { return Build(context.Background(), path, version, clockSpeed) })
}

// Command is the program of a main package of this checkout.
func (b *builds) command(dir string) (string, error) {
	return b.build(filepath.Base(dir), func(path string) error {
		return images.GoBuild(context.Background(), Source(dir), runtime.GOARCH, path)
	})
}

// build makes what is not there yet, one thing after the other: the compiler uses all processors by itself.
func (b *builds) build(name string, build func(path string) error) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	lock, err := os.OpenFile(filepath.Join(pool.built(), "lock"), os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("waiting for what another process builds: %w", err)
	}
	path := filepath.Join(pool.built(), name)
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return path, err
	}
	if err := build(path + ".partial"); err != nil {
		return "", err
	}
	return path, os.Rename(path+".partial", path)
}

// Command builds a command of this checkout, and returns the path of its program.
func Command(dir string) (string, error) { return built.command(dir) }

// Images builds the images of kube-prepull with a version, and returns their folder. Their clocks are as fast as those of
// other tests.
func Images(version string) (string, error) { return built.images(version, testClockSpeed) }

// BuildCertManager builds cert-manager's own controllers and its cainjector once, and returns their folder.
func BuildCertManager(ctx context.Context, progress io.Writer) (string, error) {
	m := cluster.Module{Dir: Source("e2e/certmanager"), Commands: []string{"./controller", "./cainjector"}, Packages: 1300}
	return m.Build(ctx, progress)
}
