package cluster

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"

	"github.com/kube-prepull/kube-prepull/e2e/cluster/gocommand"
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

// ProgramsEnv names the environment variable of a folder that has a cluster's programs already: nothing is built then.
const ProgramsEnv = "KUBE_PREPULL_PROGRAMS"

// nodePrograms run only on Linux nodes; a control plane alone does without them.
var nodePrograms = []string{"kubelet", "kube-proxy", "containerd", "containerd-shim-runc-v2", "ctr"}

// Binaries returns the folder with every program of a cluster, built from the versions that this module pins. They are
// built once for each content of go.mod and go.sum, into $KUBE_PREPULL_CACHE (default: kube-prepull in the user's
// cache folder), which takes some minutes; progress is told what happens meanwhile. Where $KUBE_PREPULL_PROGRAMS is set, that
// folder is returned, if it has them all.
func Binaries(ctx context.Context, progress io.Writer) (string, error) {
	if dir := os.Getenv(ProgramsEnv); dir != "" {
		return named(dir)
	}
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

// named is the absolute path of a folder of programs from elsewhere.
func named(dir string) (string, error) {
	mod, err := modfile.Parse("go.mod", goMod, nil)
	if err != nil {
		return "", err
	}
	var missing []string
	for _, program := range programs(mod) {
		info, err := os.Stat(filepath.Join(dir, program))
		if err != nil || info.IsDir() || info.Mode()&0o111 == 0 {
			missing = append(missing, program)
		}
	}
	if len(missing) > 0 {
		return "", fmt.Errorf("%s is %s, which has no program %s", ProgramsEnv, dir, strings.Join(missing, ", "))
	}
	return filepath.Abs(dir)
}

// programs are the names of the files that build makes.
func programs(mod *modfile.File) []string {
	names := []string{"pause"}
	for _, pkg := range toolPackages(mod) {
		if name := filepath.Base(pkg); name == "v3" {
			names = append(names, "etcd")
		} else {
			names = append(names, name)
		}
	}
	return names
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
	args := append([]string{"build", "-v", "-ldflags", versionFlags(kubernetesVersion(mod)), "-o", bin + "/"}, packages...)
	if err := gocommand.Run(ctx, module, progress, 3700, args); err != nil {
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
		flags += fmt.Sprintf(" -X %[1]s.gitVersion=%[2]s -X %[1]s.gitMajor=%[3]s -X %[1]s.gitMinor=%[4]s -X %[1]s.gitTreeState=clean",
			pkg, version, parts[0], parts[1])
	}
	return flags
}
