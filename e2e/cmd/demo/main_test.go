package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestASecondDemoSaysHowToEndTheFirst(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "state.json"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), []string{"up", "--dir", dir}); err == nil || !strings.Contains(err.Error(), "make demo-down removes it") {
		t.Errorf("the error is %v", err)
	}
}
