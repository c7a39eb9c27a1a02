package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const smallPicture = `# A comment.
title: A & B
says: A leads to B.
grid:
  a  b  .
  .  c  c
a = yours: A / first
b = ours: B
c = good: C
a -> b: then
b ..> c
frame a b = both
`

func TestPicture(t *testing.T) {
	t.Parallel()
	p, err := parsePicture(smallPicture)
	if err != nil {
		t.Fatal(err)
	}
	a, b, c := p.boxes[0], p.boxes[1], p.boxes[2]
	if a.name != "a" || a.kind != "yours" || !cmp.Equal(a.lines, []string{"A", "first"}) {
		t.Errorf("the first box is %+v", a)
	}
	if a.y != b.y || a.height != b.height || a.x+a.width >= b.x {
		t.Errorf("a (%+v) is not beside b (%+v)", a.area, b.area)
	}
	if c.x != b.x || c.y <= b.y+b.height || c.width <= b.width {
		t.Errorf("c (%+v) is not below b (%+v), in two columns", c.area, b.area)
	}
	if path := p.arrows[0].path(); path[0].x != a.x+a.width || path[1].x != b.x || path[0].y != path[1].y {
		t.Errorf("the arrow from a to b goes along %v", path)
	}
	if path := p.arrows[1].path(); path[0].x != path[1].x || path[1].y != c.y || !p.arrows[1].loose {
		t.Errorf("the arrow from b to c goes along %v", path)
	}
	svg := p.svg("small.txt")
	if !strings.Contains(svg, "<title id=\"title\">A &amp; B</title>") || !strings.Contains(svg, "Change small.txt") {
		t.Errorf("title or origin are missing:\n%s", svg)
	}
	for decoder := xml.NewDecoder(strings.NewReader(svg)); ; {
		if _, err := decoder.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func TestWrongPictures(t *testing.T) {
	t.Parallel()
	for title, tc := range map[string]struct{ old, new, wrong string }{
		"a box that is not in the grid":    {"c = good", "d = good", "line 9: d is not in the grid"},
		"a box that is there twice":        {"c = good", "b = good", "line 9: b is not in the grid, is there twice"},
		"a kind that nobody knows":         {"c = good", "c = nice", "line 9: c is not in the grid, is there twice, or has a kind"},
		"a box without content":            {"c = good: C\n", "", "nothing is in the box c"},
		"an arrow to nowhere":              {"b ..> c", "b ..> d", "line 11: the arrow"},
		"an arrow from a box to itself":    {"b ..> c", "b ..> b", "line 11: the arrow"},
		"a frame around nothing":           {"frame a b", "frame a d", "line 12: d is not in the grid"},
		"a line that is none of these":     {"b ..> c", "b to c", `line 11: "b to c" is neither`},
		"cells that are no rectangle":      {"  .  c  c", "  c  .  c", "the cells of c are no rectangle"},
		"nothing for those who cannot see": {"says: A leads to B.\n", "", "does not say"},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			if _, err := parsePicture(strings.Replace(smallPicture, tc.old, tc.new, 1)); err == nil || !strings.Contains(err.Error(), tc.wrong) {
				t.Errorf("error %v, want %q", err, tc.wrong)
			}
		})
	}
}

// TestThePicturesOfTheDocs: they are drawn anew after each change, text fits its box, and nothing is drawn over something else.
func TestThePicturesOfTheDocs(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../pictures/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d pictures: %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		p, err := parsePicture(string(text))
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		drawn, err := os.ReadFile(strings.TrimSuffix(file, ".txt") + ".svg")
		if err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(p.svg(filepath.Base(file)), string(drawn)); diff != "" {
			t.Errorf("%s: the picture is of another text: make generate (-text +picture):\n%s", file, diff)
		}
		checkRoom(t, file, p)
	}
}

// checkRoom of texts, arrows and frames.
func checkRoom(t *testing.T, file string, p *picture) {
	t.Helper()
	size := p.size()
	whole, taken := area{0, 0, size.x, size.y}, takenIn(p)
	for name, one := range taken {
		if !within(one, whole) {
			t.Errorf("%s: %s is at %+v, outside of the picture %+v", file, name, one, whole)
		}
		for other, two := range taken {
			if name < other && overlap(one, two) {
				t.Errorf("%s: %s (%+v) is over %s (%+v)", file, name, one, other, two)
			}
		}
	}
	for _, b := range p.boxes {
		if need := b.needs(); need.x > b.width || need.y > b.height {
			t.Errorf("%s: the text of %s needs %v, and the box is %+v", file, b.name, need, b.area)
		}
	}
	for _, a := range p.arrows {
		checkArrow(t, file, a, taken)
	}
	for _, f := range p.frames {
		checkFrame(t, file, f, p, whole, taken)
	}
}

// takenIn is where a picture has boxes, and labels of arrows and frames.
func takenIn(p *picture) map[string]area {
	taken := map[string]area{}
	for _, b := range p.boxes {
		taken["box "+b.name] = b.area
	}
	for _, f := range p.frames {
		taken["frame "+f.label] = f.heading()
	}
	for _, a := range p.arrows {
		if len(a.lines) > 0 {
			taken["label "+a.from.name+" "+a.to.name] = a.label()
		}
	}
	return taken
}

// checkArrow goes through nothing but gaps.
func checkArrow(t *testing.T, file string, a arrow, taken map[string]area) {
	t.Helper()
	path := a.path()
	for i := range path[1:] {
		from, to := path[i], path[i+1]
		line := area{min(from.x, to.x), min(from.y, to.y), abs(from.x - to.x), abs(from.y - to.y)}
		for name, one := range taken {
			if name != "box "+a.from.name && name != "box "+a.to.name && overlap(line, one) {
				t.Errorf("%s: the arrow from %s to %s goes through %s", file, a.from.name, a.to.name, name)
			}
		}
	}
}

// checkFrame has its boxes in it, and nothing else or half of it.
func checkFrame(t *testing.T, file string, f frame, p *picture, whole area, taken map[string]area) {
	t.Helper()
	bounds := f.bounds()
	if !within(bounds, whole) {
		t.Errorf("%s: the frame %q is at %+v, outside of the picture %+v", file, f.label, bounds, whole)
	}
	for _, b := range p.boxes {
		if !slices.Contains(f.boxes, b) && overlap(bounds, b.area) {
			t.Errorf("%s: the frame %q is over %s", file, f.label, b.name)
		}
	}
	for name, one := range taken {
		if overlap(bounds, one) && !within(one, bounds) {
			t.Errorf("%s: the frame %q goes through %s", file, f.label, name)
		}
	}
}

func overlap(a, b area) bool {
	return a.x < b.x+b.width && b.x < a.x+a.width && a.y < b.y+b.height && b.y < a.y+a.height
}

func within(a, b area) bool {
	return a.x >= b.x && a.y >= b.y && a.x+a.width <= b.x+b.width && a.y+a.height <= b.y+b.height
}

func abs(n int) int { return max(n, -n) }
