package measure

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var take = flag.Bool("take", false, "take the screenshot of the report for docs/screenshots")

// The screenshot is of the report of a history that measure history -o json printed, in these pixels.
const (
	recorded         = "testdata/history.json"
	screenshot       = "../../../docs/screenshots/report.svg"
	screenshotWidth  = 1080
	screenshotHeight = 800
)

// TestTheScreenshotOfTheReport is of the report as it is now.
func TestTheScreenshotOfTheReport(t *testing.T) {
	t.Parallel()
	svg := takeScreenshot(t)
	for decoder := xml.NewDecoder(strings.NewReader(svg)); ; {
		if _, err := decoder.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("the page cannot be in a picture: %v", err)
		}
	}
	if *take {
		if err := os.WriteFile(screenshot, []byte(svg), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	there, err := os.ReadFile(screenshot)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(svg, string(there)); diff != "" {
		t.Errorf("%s is not up to date: make screenshots (-now +picture):\n%s", screenshot, diff)
	}
}

// takeScreenshot is the page in an SVG, which is text and shows it by day and by night.
func takeScreenshot(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(recorded)
	if err != nil {
		t.Fatal(err)
	}
	h := &History{}
	if err := json.Unmarshal(text, h); err != nil {
		t.Fatal(err)
	}
	page := render(t, historyPage(h, h.Workloads[0].Pods[0].ScheduledTime))
	style, main := inside(t, page, "<style>", "</style>"), inside(t, page, "<main>", "</main>")
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%[1]d" height="%[2]d" role="img" aria-label="A report of kubectl prepull measure history">
<!-- Taken by make screenshots. -->
<style>%[3]s</style>
<foreignObject width="%[1]d" height="%[2]d">
<body xmlns="http://www.w3.org/1999/xhtml"><main>%[4]s</main></body>
</foreignObject>
</svg>
`, screenshotWidth, screenshotHeight, style, main)
}

func inside(t *testing.T, text, from, to string) string {
	t.Helper()
	_, after, found := strings.Cut(text, from)
	part, _, ended := strings.Cut(after, to)
	if !found || !ended {
		t.Fatalf("the page has no %s", from)
	}
	return part
}
