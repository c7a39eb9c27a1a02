package main

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// picture is boxes in a grid and arrows between them, as a text file draws them:
//
//	title: what it shows, in a few words
//	says: the same in sentences, for those who cannot see it
//	grid:
//	  shop  webhook
//	  .     image
//	shop = yours: Deployment / created, or a new version
//	shop -> webhook: admission
//	webhook ..> image
//	frame webhook image = kube-prepull
//
// A name that is in several cells is one box over all of them, and a dot is an empty cell. Before the colon of a box is its
// kind, which is its colour; " / " begins a new line.
type picture struct {
	title, says string
	boxes       []*box
	arrows      []arrow
	frames      []frame
	columns     []span
	rows        []span
}

// box of the picture, and the cells of the grid that it covers, both ends included.
type box struct {
	name, kind string
	lines      []string

	row, column, lastRow, lastColumn int

	// cells is in how many of them its name is.
	cells int

	area
}

// arrow from one box to another; a loose one is dashed.
type arrow struct {
	from, to *box
	lines    []string
	loose    bool
}

// frame around boxes.
type frame struct {
	boxes []*box
	label string
}

// boxKinds are what a box may be: something of the user's, of kube-prepull's or of a node's, a good end or a bad one, or what
// somebody waits for.
var boxKinds = []string{"yours", "ours", "node", "good", "bad", "wait"}

var (
	boxLine   = regexp.MustCompile(`^([a-z0-9]+) = ([a-z]+): (.+)$`)
	arrowLine = regexp.MustCompile(`^([a-z0-9]+) (->|\.\.>) ([a-z0-9]+)(?:: (.+))?$`)
	frameLine = regexp.MustCompile(`^frame ([a-z0-9 ]+) = (.+)$`)
)

// parsePicture reads the text of a picture, and lays it out.
func parsePicture(text string) (*picture, error) {
	p := &picture{}
	cells := map[string]*box{}
	inGrid := false
	for i, line := range strings.Split(text, "\n") {
		if strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#") {
			continue
		}
		inGrid = inGrid && strings.HasPrefix(line, " ")
		var err error
		switch {
		case line == "grid:":
			inGrid = true
		case inGrid:
			p.addRow(cells, strings.Fields(line))
		default:
			err = p.addLine(cells, line)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
	}
	p.boxes = slices.SortedFunc(maps.Values(cells), func(a, b *box) int {
		return cmp.Or(cmp.Compare(a.row, b.row), cmp.Compare(a.column, b.column))
	})
	if p.title == "" || p.says == "" || len(p.boxes) == 0 {
		return nil, fmt.Errorf("it has no title, no grid, or does not say what it shows")
	}
	for _, b := range p.boxes {
		if b.kind == "" {
			return nil, fmt.Errorf("nothing is in the box %s", b.name)
		}
		if b.cells != (b.lastRow-b.row+1)*(b.lastColumn-b.column+1) {
			return nil, fmt.Errorf("the cells of %s are no rectangle", b.name)
		}
	}
	p.layOut()
	return p, nil
}

// addRow of the grid.
func (p *picture) addRow(cells map[string]*box, names []string) {
	row := len(p.rows)
	p.rows = append(p.rows, span{})
	for column, name := range names {
		if column == len(p.columns) {
			p.columns = append(p.columns, span{})
		}
		if name == "." {
			continue
		}
		b := cells[name]
		if b == nil {
			b = &box{name: name, row: row, column: column, lastColumn: column}
			cells[name] = b
		}
		b.lastRow, b.lastColumn = row, max(b.lastColumn, column)
		b.cells++
	}
}

// addLine that is not of the grid.
func (p *picture) addLine(cells map[string]*box, line string) error {
	if title, ok := strings.CutPrefix(line, "title: "); ok {
		p.title = title
		return nil
	}
	if says, ok := strings.CutPrefix(line, "says: "); ok {
		p.says = says
		return nil
	}
	if m := boxLine.FindStringSubmatch(line); m != nil {
		b := cells[m[1]]
		if b == nil || b.kind != "" || !slices.Contains(boxKinds, m[2]) {
			return fmt.Errorf("%s is not in the grid, is there twice, or has a kind that is not known", m[1])
		}
		b.kind, b.lines = m[2], strings.Split(m[3], " / ")
		return nil
	}
	if m := arrowLine.FindStringSubmatch(line); m != nil {
		a := arrow{from: cells[m[1]], to: cells[m[3]], loose: m[2] == "..>"}
		if a.from == nil || a.to == nil || a.from == a.to {
			return fmt.Errorf("the arrow has to be between two boxes of the grid")
		}
		if m[4] != "" {
			a.lines = strings.Split(m[4], " / ")
		}
		p.arrows = append(p.arrows, a)
		return nil
	}
	if m := frameLine.FindStringSubmatch(line); m != nil {
		f := frame{label: m[2]}
		for _, name := range strings.Fields(m[1]) {
			b := cells[name]
			if b == nil {
				return fmt.Errorf("%s is not in the grid", name)
			}
			f.boxes = append(f.boxes, b)
		}
		p.frames = append(p.frames, f)
		return nil
	}
	return fmt.Errorf("%q is neither a box nor an arrow nor a frame", line)
}
