package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// goVersion stands in the Dockerfile's place of a Go release for the toolchain that runs the tests.
const goVersion = "local"

// buildah is a container engine without a daemon; all that it stores is in a folder that ends with the test.
type buildah struct {
	dir     string
	volumes []string
}

// newBuildah installs buildah on Debian and its kin, and makes the image that takes the place of golang: nothing is
// pulled from a registry. What can be no engine at all is skipped, and says so.
func newBuildah(t *testing.T) *buildah {
	t.Helper()
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		t.Skipf("SKIPPED: building the Dockerfile needs root on Linux (this is user %d on %s)", os.Geteuid(), runtime.GOOS)
	}
	if err := installBuildah(t); err != nil {
		t.Fatal(err)
	}
	b := &buildah{dir: t.TempDir()}
	// The one thing that buildah keeps in a place of its own.
	if cache := "/var/lib/containers"; !exists(cache) {
		t.Cleanup(func() { _ = os.RemoveAll(cache) })
	}
	for file, content := range map[string]string{
		"policy.json":     `{"default": [{"type": "insecureAcceptAnything"}]}`,
		"registries.conf": `unqualified-search-registries = ["docker.io"]`,
		"storage.conf":    fmt.Sprintf("[storage]\ndriver = \"vfs\"\ngraphroot = %q\nrunroot = %q\n", b.dir+"/storage", b.dir+"/run"),
	} {
		if err := os.WriteFile(filepath.Join(b.dir, file), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(b.dir+"/tmp", 0o755); err != nil {
		t.Fatal(err)
	}
	b.makeGolang(t)
	return b
}

func installBuildah(t *testing.T) error {
	if _, err := exec.LookPath("buildah"); err == nil {
		return nil
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return errors.New("building the Dockerfile needs buildah, please install it")
	}
	t.Log("Installing buildah")
	for _, args := range [][]string{{"update"}, {"install", "-y", "--no-install-recommends", "buildah"}} {
		// The same file as of the clusters that tests bring up meanwhile.
		cmd := exec.CommandContext(t.Context(), "flock", append([]string{"/run/lock/kube-prepull-packages", "apt-get", "-o", "DPkg::Lock::Timeout=300"}, args...)...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if output, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("installing buildah with apt-get: %w: %s", err, output)
		}
	}
	return nil
}

// makeGolang commits an image that has the folders of the host's system as they are and nothing in them: builds mount
// the system, the Go toolchain and its caches, so that nothing of their gigabytes is copied.
func (b *buildah) makeGolang(t *testing.T) {
	t.Helper()
	root := filepath.Join(b.dir, "golang")
	folders := map[string]string{
		goEnv(t, "GOROOT"):     "/go-toolchain:ro",
		goEnv(t, "GOCACHE"):    "/go-cache",
		goEnv(t, "GOMODCACHE"): "/go-modules",
	}
	for _, folder := range []string{"/usr", "/bin", "/lib", "/lib64", "/etc/ssl"} {
		if target, err := os.Readlink(folder); err == nil {
			if err := errors.Join(os.MkdirAll(root, 0o755), os.Symlink(target, root+folder)); err != nil {
				t.Fatal(err)
			}
		} else if exists(folder) {
			folders[folder] = folder + ":ro"
		}
	}
	for from, to := range folders {
		path, _, _ := strings.Cut(to, ":")
		if err := errors.Join(os.MkdirAll(from, 0o755), os.MkdirAll(root+path, 0o755)); err != nil {
			t.Fatal(err)
		}
		b.volumes = append(b.volumes, "--volume", from+":"+to)
	}
	if err := os.Mkdir(root+"/tmp", 0o777); err != nil {
		t.Fatal(err)
	}
	container := b.run(t, "from", "scratch")
	b.run(t, "copy", container, root, "/")
	b.run(t, "config", "--env", "PATH=/go-toolchain/bin:/usr/bin:/bin", "--env", "GOTOOLCHAIN=local", "--env", "GOPROXY="+goEnv(t, "GOPROXY"),
		"--env", "GOCACHE=/go-cache", "--env", "GOMODCACHE=/go-modules", container)
	b.run(t, "commit", "--rm", container, "docker.io/library/golang:"+goVersion)
}

// build builds a target of the Dockerfile and returns it.
func (b *buildah) build(t *testing.T, target, arch string, args ...string) v1.Image {
	t.Helper()
	tag := target + ":" + arch
	b.run(t, slices.Concat([]string{"build", "--isolation", "chroot", "--pull-never", "--platform", "linux/" + arch, "--target", target, "--tag", tag,
		// Old releases of buildah do not set the platform that they build on.
		"--build-arg", "BUILDPLATFORM=linux/" + runtime.GOARCH, "--build-arg", "GO_VERSION=" + goVersion,
	}, b.volumes, args, []string{"../.."})...)
	dir := filepath.Join(b.dir, target+"-"+arch)
	b.run(t, "push", tag, "oci:"+dir)
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	img, err := index.Image(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// run runs buildah and returns the last line that it printed.
func (b *buildah) run(t *testing.T, args ...string) string {
	t.Helper()
	// A build takes over none of the host's settings of containers.
	global := []string{"--registries-conf", b.dir + "/registries.conf", "--root", b.dir + "/storage", "--runroot", b.dir + "/run", "--storage-driver", "vfs"}
	switch args[0] {
	case "from", "commit", "build", "push":
		args = append([]string{args[0], "--signature-policy", b.dir + "/policy.json"}, args[1:]...)
	}
	cmd := exec.CommandContext(t.Context(), "buildah", append(global, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+b.dir, "TMPDIR="+b.dir+"/tmp", "CONTAINERS_STORAGE_CONF="+b.dir+"/storage.conf")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("buildah %s: %v\n%s%s", strings.Join(args, " "), err, &stdout, &stderr)
	}
	lines := strings.Split(strings.TrimSpace(stdout.String()), "\n")
	return lines[len(lines)-1]
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	output, err := exec.CommandContext(t.Context(), "go", "env", name).Output()
	if err != nil {
		t.Fatalf("go env %s: %v", name, err)
	}
	return strings.TrimSpace(string(output))
}
