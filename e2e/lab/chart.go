package lab

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// edit is a change of a file of the chart.
type Edit struct {
	File string
	Text func(string) string
}

// ChartOf is the chart of this checkout with changes, each of which must change something.
func ChartOf(t *testing.T, edits ...Edit) string {
	t.Helper()
	chart := filepath.Join(t.TempDir(), "chart")
	if err := os.CopyFS(chart, os.DirFS(Source("deploy/chart"))); err != nil {
		t.Fatal(err)
	}
	for _, e := range edits {
		file := filepath.Join(chart, e.File)
		before, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		after := e.Text(string(before))
		if after == string(before) {
			t.Fatalf("%s has nothing to change", e.File)
		}
		if err := os.WriteFile(file, []byte(after), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return chart
}

// closed makes webhooks deny what they cannot be asked about, and gives them more time.
var Closed = Edit{"templates/mutatingwebhookconfiguration.yaml",
	strings.NewReplacer("failurePolicy: Ignore", "failurePolicy: Fail", "timeoutSeconds: 1", "timeoutSeconds: 10").Replace}
