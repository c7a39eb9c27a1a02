package cluster

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/mod/modfile"
)

var (
	//go:embed go.mod
	goMod []byte
	//go:embed go.sum
	goSum []byte
	//go:embed pause/main.go
	pauseSource []byte
)

// CacheDirEnv names the environment variable that moves the folder of built binaries.
const CacheDirEnv = "KUBE_PREPULL_CACHE"

// nodePrograms run only on Linux nodes; a control plane alone does without them.
var nodePrograms = []string{"kubelet", "kube-proxy", "containerd", "containerd-shim-runc-v2", "ctr"}

// Binaries returns the folder with every program of a cluster, built from the versions that this module pins. They are
// built once for each content of go.mod and go.sum, into $KUBE_PREPULL_CACHE (default: kube-prepull in the user's
// cache folder), which takes some minutes; progress is told what happens meanwhile.
func Binaries(ctx context.Context, progress io.Writer) (string, error) {
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "binaries", binariesKey())
	if complete(dir) {
		return dir, nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", fmt.Errorf("making the folder of binaries: %w", err)
	}
	// One build at a time: a second one would only compete for the same cores.
	unlock, err := lockFile(ctx, dir+".lock")
	if err != nil {
		return "", fmt.Errorf("waiting for another build of the cluster's binaries: %w", err)
	}
	defer unlock()
	if complete(dir) {
		return dir, nil
	}
	if err := build(ctx, dir, progress); err != nil {
		return "", fmt.Errorf("building the cluster's binaries: %w", err)
	}
	return dir, nil
}

func cacheDir() (string, error) {
	if dir := os.Getenv(CacheDirEnv); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding a folder for the cluster's binaries (set %s to choose one): %w", CacheDirEnv, err)
	}
	return filepath.Join(dir, "kube-prepull"), nil
}

func binariesKey() string {
	h := sha256.New()
	for _, part := range [][]byte{goMod, goSum, pauseSource, []byte(runtime.GOOS + "/" + runtime.GOARCH)} {
		fmt.Fprintf(h, "%d\n%s", len(part), part)
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}

// complete is true for a folder that build has finished: it appears under its name in one step.
func complete(dir string) bool {
	_, err := os.Stat(dir)
	return err == nil
}

// build compiles into a folder beside dir and renames it, so that an interrupted build leaves nothing that looks whole.
func build(ctx context.Context, dir string, progress io.Writer) error {
	work := dir + ".partial"
	if err := os.RemoveAll(work); err != nil {
		return err
	}
	module, bin := filepath.Join(work, "module"), filepath.Join(work, "bin")
	for _, d := range []string{filepath.Join(module, "pause"), bin} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	defer os.RemoveAll(work)
	for name, content := range map[string][]byte{"go.mod": goMod, "go.sum": goSum, "pause/main.go": pauseSource} {
		if err := os.WriteFile(filepath.Join(module, name), content, 0o644); err != nil {
			return err
		}
	}

	mod, err := modfile.Parse("go.mod", goMod, nil)
	if err != nil {
		return err
	}
	fmt.Fprintf(progress, "Building Kubernetes %s, etcd, containerd, KWOK and Helm from source, once (some minutes, and about 5 GB of Go's caches)\n", kubernetesVersion(mod))
	packages := append(toolPackages(mod), "./pause")
	args := append([]string{"build", "-v", "-trimpath", "-ldflags", versionFlags(kubernetesVersion(mod)), "-o", bin + "/"}, packages...)
	if err := goCommand(ctx, module, progress, 3700, args...); err != nil {
		return err
	}
	// The main package of etcd's server lives in a folder called server.
	if err := os.Rename(filepath.Join(bin, "server"), filepath.Join(bin, "etcd")); err != nil {
		return err
	}
	return os.Rename(bin, dir)
}

func kubernetesVersion(mod *modfile.File) string {
	for _, r := range mod.Require {
		if r.Mod.Path == "k8s.io/kubernetes" {
			return r.Mod.Version
		}
	}
	return "v0.0.0"
}

func toolPackages(mod *modfile.File) []string {
	var packages []string
	for _, tool := range mod.Tool {
		if runtime.GOOS != "linux" && slices.Contains(nodePrograms, filepath.Base(tool.Path)) {
			continue
		}
		packages = append(packages, tool.Path)
	}
	return packages
}

// versionFlags stamps Kubernetes' version as its own release does: clients such as Helm ask for it.
func versionFlags(version string) string {
	parts := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	flags := "-s -w"
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		flags += fmt.Sprintf(" -X %[1]s.gitVersion=%s -X %[1]s.gitMajor=%s -X %[1]s.gitMinor=%s -X %[1]s.gitTreeState=clean",
			pkg, version, parts[0], parts[1])
	}
	return flags
}

// goCommand runs the go tool in dir and tells progress how many packages of about so many have been compiled.
func goCommand(ctx context.Context, dir string, progress io.Writer, about int, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=")
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	output, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("running the go command (Go must be installed to build the cluster): %w", err)
	}
	var compiled atomic.Int64
	start, done := time.Now(), make(chan struct{})
	var telling sync.WaitGroup
	telling.Go(func() { tellProgress(progress, &compiled, about, start, done) })
	said := readBuildOutput(output, func() { compiled.Add(1) })
	err = cmd.Wait()
	close(done)
	telling.Wait()
	if err != nil {
		return errors.Join(err, ctx.Err(), errors.New(said))
	}
	fmt.Fprintf(progress, "  built in %s\n", time.Since(start).Round(time.Second))
	return nil
}

// readBuildOutput calls compiled for each package that go build -v names, and keeps everything else.
func readBuildOutput(r io.Reader, compiled func()) string {
	var said bytes.Buffer
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := lines.Text()
		if !strings.ContainsAny(line, " :") {
			compiled()
			continue
		}
		if !strings.HasPrefix(line, "go: downloading") && said.Len() < 8<<10 {
			said.WriteString(line + "\n")
		}
	}
	return said.String()
}

func tellProgress(w io.Writer, compiled *atomic.Int64, about int, start time.Time, done <-chan struct{}) {
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			fmt.Fprintf(w, "  %d of about %d packages compiled, %s\n", compiled.Load(), about, time.Since(start).Round(time.Second))
		}
	}
}
