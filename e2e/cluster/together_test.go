package cluster

import (
	"os"
	"path/filepath"
	"testing"
)

func TestTogether(t *testing.T) {
	t.Parallel()
	old, today := folderOf(t, "old", "kubelet"), folderOf(t, "today", "kubelet", "etcd")
	dir := filepath.Join(t.TempDir(), "together")
	if err := together(dir, old, today); err != nil {
		t.Fatal(err)
	}
	for program, want := range map[string]string{"kubelet": "old", "etcd": "today"} {
		if got, err := os.ReadFile(filepath.Join(dir, program)); string(got) != want {
			t.Errorf("%s is that of %q (%v), want that of %q", program, got, err, want)
		}
	}
	if err := together(filepath.Join(t.TempDir(), "again"), old, filepath.Join(today, "missing")); err == nil {
		t.Error("a folder that is missing is no error")
	}
}

// folderOf has programs that contain a word.
func folderOf(t *testing.T, word string, programs ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, program := range programs {
		if err := os.WriteFile(filepath.Join(dir, program), []byte(word), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
