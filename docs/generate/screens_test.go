package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestTheScreensOfTheDocs are those of the tutorial and the dashboard as they are now.
func TestTheScreensOfTheDocs(t *testing.T) {
	t.Parallel()
	taken, err := takeScreens("../..")
	if err != nil {
		t.Fatal(err)
	}
	for name, svg := range taken {
		there, err := os.ReadFile(filepath.Join("../screenshots", name))
		if err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(svg, string(there)); diff != "" {
			t.Errorf("%s is not up to date: make generate (-now +picture):\n%s", name, diff)
		}
		checkXML(t, name, svg)
	}
}

func checkXML(t *testing.T, name, svg string) {
	t.Helper()
	for decoder := xml.NewDecoder(strings.NewReader(svg)); ; {
		if _, err := decoder.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
}

func TestATerminal(t *testing.T) {
	t.Parallel()
	page := "# Page\n\n```console\n$ first\nno\n$ second <a>\nSTATE  Ready\n\n" + "WHY  " + strings.Repeat("word ", 20) + "last\n```\nText.\n"
	lines, err := exampleOf(page, "second <a>")
	if err != nil {
		t.Fatal(err)
	}
	svg := terminal("page.md", lines)
	for _, want := range []string{
		`class="typed" x="18" y="48">$ second &lt;a&gt;<`, `y="67"><tspan class="about">STATE</tspan>  Ready<`, `y="105"><tspan class="about">WHY</tspan>  word`, `y="124">     word last<`,
	} {
		if !strings.Contains(svg, want) {
			t.Errorf("there is no %s:\n%s", want, svg)
		}
	}
	checkXML(t, "the terminal", svg)
	if strings.Contains(svg, ">no<") || strings.Contains(svg, "Text.") {
		t.Errorf("it shows more than the command:\n%s", svg)
	}
	if _, err := exampleOf(page, "third"); err == nil {
		t.Error("a command that is not on the page")
	}
}

func TestADashboard(t *testing.T) {
	t.Parallel()
	board := func(unit, says string) []byte {
		return []byte(`{"title": "d", "panels": [{"type": "row", "title": "Row", "gridPos": {"x": 0, "y": 0, "w": 24, "h": 1}},
{"type": "stat", "title": "Starts", "description": "` + says + `", "gridPos": {"x": 6, "y": 1, "w": 6, "h": 5},
"fieldConfig": {"defaults": {"unit": "` + unit + `"}}, "targets": [{"legendFormat": "{{result}}"}]}]}`)
	}
	svg, err := drawDashboard("d.json", board("ops", "How many."))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`class="row" x="12" y="24">Row<`, `<rect class="panel" x="248" y="32" width="232" height="112"`, ">Starts<", ">number per second, by result<", ">How many.<"} {
		if !strings.Contains(svg, want) {
			t.Errorf("there is no %s:\n%s", want, svg)
		}
	}
	for name, wrong := range map[string][]byte{
		"a unit without words": board("furlong", "How many."), "more text than room": board("ops", strings.Repeat("How many. ", 50)), "no JSON": []byte("{"),
	} {
		if _, err := drawDashboard("d.json", wrong); err == nil {
			t.Errorf("%s is drawn", name)
		}
	}
}
