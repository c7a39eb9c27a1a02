package main

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// maxImageBytes is how large an image may be on a node, layers unpacked.
const maxImageBytes = 60 << 20

var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// TestDockerfile builds every target for every platform with a real engine, and expects what "make image" makes.
func TestDockerfile(t *testing.T) {
	engine := newBuildah(t)
	readSources(t)
	for _, title := range slices.Sorted(maps.Keys(targets)) {
		target := targets[title]
		for arch, machine := range machines {
			t.Run(title+" for "+arch, func(t *testing.T) {
				program := checkImage(t, engine.build(t, title, arch, "--build-arg", "VERSION=1.2.3"), target, arch, machine)
				want, err := compileAll(t.Context(), target, []v1.Platform{{OS: "linux", Architecture: arch}}, stamp{"1.2.3", 1})
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(program, want[0].content) {
					t.Errorf("the binary differs from that of make image (%d bytes, %d there)", len(program), len(want[0].content))
				}
				if arch == goEnv(t, "GOHOSTARCH") {
					checkRuns(t, target, program)
				}
			})
		}
	}
}

// checkRuns runs a program as the only file that there is, as the image's user.
func checkRuns(t *testing.T, target target, program []byte) {
	t.Helper()
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, target.binary), program, 0o555); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	args, want := []string{}, ""
	if target.stamped {
		args, want = []string{"version"}, "1.2.3\n"
	}
	cmd := exec.CommandContext(ctx, "/"+target.binary, args...)
	cmd.Dir, cmd.Env = "/", []string{}
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: 65532, Gid: 65532}}
	output, err := cmd.CombinedOutput()
	if err != nil || string(output) != want {
		t.Errorf("%s %s on an empty image: %v, printed %q, want %q", target.binary, args, err, output, want)
	}
}

// readSources reads the names and times of what an image is built from. The build runs in another process: without
// this, the test's result would be taken from the cache after a change.
func readSources(t *testing.T) {
	t.Helper()
	for _, source := range append(sources(t), "Dockerfile") {
		err := filepath.WalkDir("../../"+source, func(path string, _ fs.DirEntry, err error) error {
			_, statErr := os.Stat(path)
			return errors.Join(err, statErr)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// sources are the paths that .dockerignore lets in: all that the programs are built from.
func sources(t *testing.T) []string {
	t.Helper()
	ignore, err := os.ReadFile("../../.dockerignore")
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for line := range strings.Lines(string(ignore)) {
		if path, found := strings.CutPrefix(strings.TrimSpace(line), "!"); found {
			paths = append(paths, path)
		}
	}
	return paths
}

// Images are reproducible with one release of Go only: the one that is in go.mod, for "make image", and in the Dockerfile.
func TestTheDockerfileHasTheGoOfTheModule(t *testing.T) {
	t.Parallel()
	var found []string
	for file, pattern := range map[string]string{"go.mod": `(?m)^toolchain go(\S+)$`, "Dockerfile": `(?m)^ARG GO_VERSION=(\S+)$`} {
		content, err := os.ReadFile("../../" + file)
		if err != nil {
			t.Fatal(err)
		}
		match := regexp.MustCompile(pattern).FindSubmatch(content)
		if match == nil {
			t.Fatalf("%s names no release of Go", file)
		}
		found = append(found, string(match[1]))
	}
	if found[0] != found[1] {
		t.Errorf("go.mod and the Dockerfile name two releases of Go: %s", strings.Join(found, " and "))
	}
}

// checkConfig compares what an image says about itself with what "make image" writes.
func checkConfig(t *testing.T, target target, got v1.Config) {
	t.Helper()
	img, err := image(target, v1.Platform{OS: "linux", Architecture: "amd64"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	// Engines add their name, and a PATH and a folder that say nothing on an empty image.
	ignored := cmpopts.IgnoreMapEntries(func(key, _ string) bool { return key == "io.buildah.version" })
	got.Env, got.WorkingDir = nil, ""
	if diff := cmp.Diff(want.Config, got, ignored); diff != "" {
		t.Errorf("configuration (-make image +got):\n%s", diff)
	}
}
