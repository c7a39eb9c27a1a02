package cluster

import (
	"context"
	"errors"
	"io"
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
	t.Setenv(ProgramsEnv, "")
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
	pinned := programs(mod)
	want := []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "etcd", "kwok", "helm", "pause"}
	if runtime.GOOS == "linux" {
		want = append(want, nodePrograms...)
	}
	for _, program := range want {
		if !slices.Contains(pinned, program) {
			t.Errorf("%s is not among the tools of go.mod", program)
		}
	}
	if version := kubernetesVersion(mod); !strings.HasPrefix(version, "v1.") {
		t.Errorf("the version of Kubernetes is %q", version)
	}
}

// An API server of an old Kubernetes takes the numbers for numbers.
func TestVersionFlags(t *testing.T) {
	t.Parallel()
	got := versionFlags("v1.30.14")
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		for name, value := range map[string]string{"gitVersion": "v1.30.14", "gitMajor": "1", "gitMinor": "30", "gitTreeState": "clean"} {
			if want := " -X " + pkg + "." + name + "=" + value; !strings.Contains(got+" ", want+" ") {
				t.Errorf("%q has no %q", got, want)
			}
		}
	}
}

func TestProgramsFromElsewhere(t *testing.T) {
	mod, err := modfile.Parse("go.mod", goMod, nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	t.Setenv(CacheDirEnv, t.TempDir())
	t.Setenv(ProgramsEnv, dir)
	for _, program := range programs(mod) {
		if err := os.WriteFile(filepath.Join(dir, program), nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := Binaries(t.Context(), io.Discard); got != dir || err != nil {
		t.Errorf("got %q (%v), want the folder that is named", got, err)
	}
	if err := errors.Join(os.Remove(filepath.Join(dir, "etcd")), os.Chmod(filepath.Join(dir, "kwok"), 0o644)); err != nil {
		t.Fatal(err)
	}
	_, err = Binaries(t.Context(), io.Discard)
	if err == nil || !strings.Contains(err.Error(), "no program etcd, kwok") {
		t.Errorf("got %v, want an error that names what is missing and what cannot be run", err)
	}
}
