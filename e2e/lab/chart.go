package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Edit is a change of a file of the chart.
type Edit struct {
	File string
	Text func(string) string
}

// patientChart is the chart of this checkout whose webhooks get more time of API servers. An admission that goes on without
// its pins on a busy machine is as it should be, and would be the end of most tests.
func patientChart() (string, error) {
	return built.build("chart", func(path string) error { return copyChart(path, patient) })
}

var patient = Edit{"templates/mutatingwebhookconfiguration.yaml",
	strings.NewReplacer("timeoutSeconds: 1", "timeoutSeconds: 10", "timeoutSeconds: 2", "timeoutSeconds: 10").Replace}

// ChartOf is the chart of this checkout with changes, each of which must change something.
func ChartOf(t *testing.T, edits ...Edit) string {
	t.Helper()
	chart := filepath.Join(t.TempDir(), "chart")
	if err := copyChart(chart, edits...); err != nil {
		t.Fatal(err)
	}
	return chart
}

func copyChart(chart string, edits ...Edit) error {
	if err := os.CopyFS(chart, os.DirFS(Source("deploy/chart"))); err != nil {
		return err
	}
	for _, e := range edits {
		file := filepath.Join(chart, e.File)
		before, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		after := e.Text(string(before))
		if after == string(before) {
			return fmt.Errorf("%s has nothing to change", e.File)
		}
		if err := os.WriteFile(file, []byte(after), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Closed makes webhooks deny what they cannot be asked about, and gives them more time.
var Closed = Edit{"templates/mutatingwebhookconfiguration.yaml",
	strings.NewReplacer("failurePolicy: Ignore", "failurePolicy: Fail", "timeoutSeconds: 1", "timeoutSeconds: 10").Replace}
