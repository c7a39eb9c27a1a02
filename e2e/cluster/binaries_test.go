package cluster

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/modfile"
)

// TestAnInterruptedBuildLeavesNothingThatLooksWhole ends a build as soon as it has begun.
func TestAnInterruptedBuildLeavesNothingThatLooksWhole(t *testing.T) {
	cache := t.TempDir()
	t.Setenv(CacheDirEnv, cache)
	ctx, cancel := context.WithCancel(t.Context())
	progress := writerFunc(func(text string) {
		if strings.Contains(text, "Building") {
			cancel()
		}
	})
	dir, err := Binaries(ctx, progress)
	if err == nil {
		t.Fatalf("the interrupted build returned %s", dir)
	}
	entries, err := os.ReadDir(filepath.Join(cache, "binaries"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if filepath.Ext(e.Name()) != ".lock" {
			t.Errorf("%s is left", e.Name())
		}
	}
	// The lock is free: the next one can build.
	unlock, err := lockFile(t.Context(), filepath.Join(cache, "binaries", binariesKey()+".lock"))
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}

type writerFunc func(string)

func (f writerFunc) Write(p []byte) (int, error) {
	f(string(p))
	return len(p), nil
}

func TestEveryProgramOfAClusterIsPinned(t *testing.T) {
	t.Parallel()
	mod, err := modfile.Parse("go.mod", goMod, nil)
	if err != nil {
		t.Fatal(err)
	}
	var programs []string
	for _, pkg := range toolPackages(mod) {
		programs = append(programs, filepath.Base(pkg))
	}
	want := []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "v3", "kwok", "helm"}
	if runtime.GOOS == "linux" {
		want = append(want, nodePrograms...)
	}
	for _, program := range want {
		if !slices.Contains(programs, program) {
			t.Errorf("%s is not among the tools of go.mod", program)
		}
	}
	if version := kubernetesVersion(mod); !strings.HasPrefix(version, "v1.") {
		t.Errorf("the version of Kubernetes is %q", version)
	}
}

func TestReadBuildOutputCountsPackagesAndKeepsErrors(t *testing.T) {
	t.Parallel()
	compiled := 0
	output := bytes.NewBufferString("go: downloading a v1\nexample.com/a\nexample.com/b\n# example.com/c\nc.go:1:1: syntax error\n")
	said := readBuildOutput(output, func() { compiled++ })
	if compiled != 2 || said != "# example.com/c\nc.go:1:1: syntax error\n" {
		t.Errorf("got %d packages and %q", compiled, said)
	}
}
