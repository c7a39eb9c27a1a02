package certs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-logr/logr"
)

func TestFilesAreServedWhenTheyBelongTogether(t *testing.T) {
	t.Parallel()
	a := mustAuthority(t, epoch)
	s := NewSource(Options{Namespace: "infra"})
	d := &directory{path: t.TempDir(), serving: &s.serving, log: logr.Discard()}
	write := func(data map[string][]byte, keys ...string) {
		for _, key := range keys {
			if err := os.WriteFile(filepath.Join(d.path, key), data[key], 0o600); err != nil {
				t.Fatal(err)
			}
		}
		d.read()
	}
	d.read()
	if err := s.Ready(nil); err == nil || !strings.Contains(err.Error(), "waiting for a certificate in "+d.path) {
		t.Errorf("without files it says %v", err)
	}
	first, second := mustLeaf(t, a, epoch), mustLeaf(t, a, epoch)
	write(mustServing(t, a, first), "tls.crt", "tls.key")
	if got := s.leaf.Load(); got == nil || !got.Leaf.Equal(first.Leaf) {
		t.Fatal("the files are not served")
	}
	write(mustServing(t, a, second), "tls.crt")
	if got := s.leaf.Load(); !got.Leaf.Equal(first.Leaf) {
		t.Error("a certificate with another key is served")
	}
	write(mustServing(t, a, second), "tls.key")
	if got := s.leaf.Load(); !got.Leaf.Equal(second.Leaf) {
		t.Error("changed files are not served")
	}
}
