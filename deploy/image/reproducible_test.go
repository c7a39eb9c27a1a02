package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// TestABuildElsewhereGivesTheSameDigest builds what is here, then a copy of it in another folder for somebody with
// other settings. Of noop not even a compiled package is shared between the two; the others' take minutes. One platform
// is enough: TestDockerfile compares the others.
func TestABuildElsewhereGivesTheSameDigest(t *testing.T) {
	here := map[string]string{}
	for name, target := range targets {
		here[name] = digest(t, target)
	}

	elsewhere := t.TempDir()
	for _, source := range sources(t) {
		copySource(t, filepath.Join("../..", source), filepath.Join(elsewhere, source))
	}
	t.Chdir(elsewhere)
	for name, value := range map[string]string{
		"GOAMD64": "v3", "GOFLAGS": "-tags=mine -trimpath=false", "CGO_ENABLED": "1", "TZ": "Asia/Tokyo", "SOURCE_DATE_EPOCH": "1",
	} {
		t.Setenv(name, value)
	}
	there := map[string]string{}
	for name, target := range targets {
		if target.stamped {
			there[name] = digest(t, target)
		}
	}
	t.Setenv("GOCACHE", t.TempDir())
	there["kube-prepull-noop"] = digest(t, targets["kube-prepull-noop"])

	if diff := cmp.Diff(here, there); diff != "" {
		t.Errorf("digests (-here +elsewhere):\n%s", diff)
	}
}

func digest(t *testing.T, target target) string {
	t.Helper()
	programs, err := compileAll(t.Context(), target, []v1.Platform{{OS: "linux", Architecture: "amd64"}}, stamp{"1.2.3", 1})
	if err != nil {
		t.Fatal(err)
	}
	index, err := assemble(target, programs)
	if err != nil {
		t.Fatal(err)
	}
	hash, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return hash.String()
}

func copySource(t *testing.T, from, to string) {
	t.Helper()
	info, err := os.Stat(from)
	if err != nil {
		t.Fatal(err)
	}
	if info.IsDir() {
		if err := os.CopyFS(to, os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
		return
	}
	content, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, content, 0o600); err != nil {
		t.Fatal(err)
	}
}
