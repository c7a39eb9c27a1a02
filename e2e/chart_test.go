package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/kube-prepull/kube-prepull/e2e/lab"
)

// edit is a change of a file of the chart.
type edit struct {
	file string
	text func(string) string
}

// chartOf is the chart of this checkout with changes, each of which must change something.
func chartOf(t *testing.T, edits ...edit) string {
	t.Helper()
	chart := filepath.Join(t.TempDir(), "chart")
	if err := os.CopyFS(chart, os.DirFS(lab.Source("deploy/chart"))); err != nil {
		t.Fatal(err)
	}
	for _, e := range edits {
		file := filepath.Join(chart, e.file)
		before, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		after := e.text(string(before))
		if after == string(before) {
			t.Fatalf("%s has nothing to change", e.file)
		}
		if err := os.WriteFile(file, []byte(after), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return chart
}

// closed makes webhooks deny what they cannot be asked about, and gives them more time.
var closed = edit{"templates/mutatingwebhookconfiguration.yaml",
	strings.NewReplacer("failurePolicy: Ignore", "failurePolicy: Fail", "timeoutSeconds: 1", "timeoutSeconds: 10").Replace}

// versioned gives the chart another version.
func versioned(version string) edit {
	line := regexp.MustCompile(`(?m)^(version|appVersion): .*$`)
	return edit{"Chart.yaml", func(text string) string { return line.ReplaceAllString(text, "$1: "+version) }}
}

// without takes fields of the status out of the CRD.
func without(fields ...string) edit {
	return edit{"files/crds/kube-prepull.io_prepullimages.yaml", func(text string) string {
		for _, field := range fields {
			// The field, and every line that is indented more.
			text = regexp.MustCompile(`(?m)^ {14}`+field+`:\n(?: {15,}.*\n)+`).ReplaceAllString(text, "")
		}
		return text
	}}
}
