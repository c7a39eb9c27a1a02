package measure

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// elements of a page, by name. Every one must be closed, as a browser would need to guess where it ends otherwise.
func elements(t *testing.T, page string) map[string]int {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(page))
	d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	found := map[string]int{}
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := token.(xml.StartElement); ok {
			found[e.Name.Local]++
		}
	}
}

// external is what makes a browser ask for more.
var external = regexp.MustCompile(`(?i)https?://|src=|href=|url\(|@import|<script|<link|<iframe|<img`)

func render(t *testing.T, d *document) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "page.html")
	if err := writePage(file, d); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if found := external.FindString(string(text)); found != "" {
		t.Errorf("the page is not all in one: %q", found)
	}
	return string(text)
}

const hostile = `"><script>alert('1')</script><img src=x onerror=alert(2)>`

func TestExperimentPage(t *testing.T) {
	t.Parallel()
	x := &Experiment{Image: "app:v1", Node: "node-1", SizeBytes: 50_000_000, Starts: []Start{
		{Pod: "p", Cold: true, ScheduledSeconds: 0.1, SandboxSeconds: 0.5, PulledSeconds: 4, StartedSeconds: 0.5, StartUpSeconds: 5},
		{Pod: "q", ScheduledSeconds: 0.1, SandboxSeconds: 0.3, StartedSeconds: 0.2, StartUpSeconds: 0.5},
	}}
	x.conclude()
	page := render(t, experimentPage(x, time.Unix(0, 0)))
	for _, want := range []string{"app:v1 on node node-1 (50 MB)", "10.0×", "pulled: 4.0 s", "1 January 1970, 00:00 UTC"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if e := elements(t, page); e["i"] != 4+4+3 || e["tr"] != 3 || e["html"] != 1 {
		t.Errorf("elements are %v, want one for each of a legend of 4 and of 7 steps, and 3 rows", e)
	}
	if again := render(t, experimentPage(x, time.Unix(0, 0))); again != page {
		t.Error("the same experiment makes another page")
	}
}

func TestPageEscapes(t *testing.T) {
	t.Parallel()
	x := &Experiment{Image: hostile, Node: hostile, Starts: []Start{{Pod: hostile}}}
	pages := []*document{experimentPage(x, time.Unix(0, 0)), historyPage(&History{Workloads: []Workload{{
		Namespace: hostile, Kind: hostile, Name: hostile, Totals: Totals{Starts: 1, Misses: 1},
		Pods: []PodStart{{Pod: hostile, Node: hostile, Outcome: Miss, StartUpSeconds: 2, PulledSeconds: 1, Pulls: []Pull{{Image: hostile, PulledSeconds: 1}}}},
	}}}, time.Unix(0, 0))}
	for _, d := range pages {
		var text strings.Builder
		if err := pageTemplate.Execute(&text, d); err != nil {
			t.Fatal(err)
		}
		if e := elements(t, text.String()); e["script"] > 0 || e["img"] > 0 {
			t.Errorf("names became elements: %v", e)
		}
	}
}

func TestHistoryPageIsBounded(t *testing.T) {
	t.Parallel()
	h := &History{}
	for i := range 40 {
		w := Workload{Namespace: "shop", Kind: "Deployment", Name: fmt.Sprintf("app-%d", i)}
		for range 60 {
			w.Pods = append(w.Pods, PodStart{Pod: "p", Outcome: Unknown, StartUpSeconds: 1})
		}
		w.Totals = totals(w.Pods)
		h.Workloads = append(h.Workloads, w)
	}
	page := render(t, historyPage(h, time.Unix(0, 0)))
	if e := elements(t, page); e["details"] != pageWorkloads || e["figure"] != 1+pageWorkloads || e["tr"] != 41 {
		t.Errorf("elements are %v, want %d sections, and every workload in the table", e, pageWorkloads)
	}
	if !strings.Contains(page, "10 more workloads") || !strings.Contains(page, "of which the 25") {
		t.Error("the page does not say what it leaves out")
	}
}
