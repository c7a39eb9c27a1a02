package images_test

import (
	"debug/elf"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kube-prepull/kube-prepull/e2e/images"
)

func TestGoBuildMakesAStaticBinary(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for file, content := range map[string]string{"go.mod": "module empty\n", "main.go": "package main\n\nfunc main() {}\n"} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		out := filepath.Join(t.TempDir(), "program")
		if err := images.GoBuild(t.Context(), dir, arch, out); err != nil {
			t.Fatal(err)
		}
		f, err := elf.Open(out)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if f.Machine != machine || f.Section(".interp") != nil {
			t.Errorf("for %s: machine %v, an interpreter is needed: %v", arch, f.Machine, f.Section(".interp") != nil)
		}
	}
}

func TestGoBuildShowsWhatTheCompilerSays(t *testing.T) {
	t.Parallel()
	err := images.GoBuild(t.Context(), t.TempDir(), "amd64", filepath.Join(t.TempDir(), "out"))
	if err == nil || !strings.Contains(err.Error(), "go.mod") {
		t.Errorf("error %v", err)
	}
}
