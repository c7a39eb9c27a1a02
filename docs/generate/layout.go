package main

import "strings"

// Sizes in pixels.
const (
	headSize   = 15
	textSize   = 13
	lineHeight = 18
	padX, padY = 14, 11
	gapX, gapY = 44, 44
	margin     = 24
	framePad   = 12
	frameLabel = 22
	headLength = 9
)

// span is where a column or a row of the grid begins, and how long it is.
type span struct{ at, size int }

// area is a rectangle.
type area struct{ x, y, width, height int }

type point struct{ x, y int }

// layOut gives columns and rows their sizes, and each box its place: a column is as wide as its widest box, and between two
// boxes is room for what their arrow says.
func (p *picture) layOut() {
	for _, b := range p.boxes {
		widen(p.columns[b.column:b.lastColumn+1], b.needs().x, gapX)
		widen(p.rows[b.row:b.lastRow+1], b.needs().y, gapY)
	}
	pad := p.framed()
	columnGaps, rowGaps := p.gaps(pad)
	place(p.columns, columnGaps, margin+pad)
	place(p.rows, rowGaps, margin+pad+p.topLabel())
	for _, b := range p.boxes {
		first, last := p.columns[b.column], p.columns[b.lastColumn]
		top, bottom := p.rows[b.row], p.rows[b.lastRow]
		b.area = area{first.at, top.at, last.at + last.size - first.at, bottom.at + bottom.size - top.at}
	}
}

// widen columns so that together, with the gaps between them, they have a size.
func widen(spans []span, size, gap int) {
	have := gap * (len(spans) - 1)
	for _, s := range spans {
		have += s.size
	}
	for i := range spans {
		if more := size - have; more > 0 {
			spans[i].size += (more + len(spans) - 1) / len(spans)
		}
	}
}

// gaps between columns, and between rows.
func (p *picture) gaps(pad int) (columns, rows []int) {
	columns, rows = make([]int, len(p.columns)), make([]int, len(p.rows))
	for i := range columns {
		columns[i] = gapX
	}
	for i := range rows {
		rows[i] = gapY
		if pad > 0 {
			rows[i] += pad + frameLabel
		}
	}
	for _, a := range p.arrows {
		if a.above() || len(a.lines) == 0 {
			continue
		}
		left, right := a.from, a.to
		if left.column > right.column {
			left, right = right, left
		}
		need := labelWidth(a.lines) + 24 + headLength
		if !a.beside() { // it ends in the middle of its column, and has its head elsewhere
			need -= p.columns[a.to.column].size/2 + headLength
		}
		for i, s := range p.columns[left.lastColumn+1 : right.column] {
			need -= s.size + columns[left.lastColumn+1+i]
		}
		columns[left.lastColumn] = max(columns[left.lastColumn], need)
	}
	for _, a := range p.arrows {
		if upper := a.from; a.above() && len(a.lines) > 0 {
			if upper.row > a.to.row {
				upper = a.to
			}
			rows[upper.lastRow] = max(rows[upper.lastRow], lineHeight*len(a.lines)+30)
		}
	}
	return columns, rows
}

// place spans one behind the other.
func place(spans []span, gaps []int, from int) {
	for i := range spans {
		spans[i].at = from
		from += spans[i].size + gaps[i]
	}
}

// framed is how much room frames take around what is in them.
func (p *picture) framed() int {
	if len(p.frames) == 0 {
		return 0
	}
	return framePad
}

// topLabel is the height of the labels of frames in the first row.
func (p *picture) topLabel() int {
	for _, f := range p.frames {
		for _, b := range f.boxes {
			if b.row == 0 {
				return frameLabel
			}
		}
	}
	return 0
}

// needs is how large a box has to be for its text.
func (b *box) needs() point {
	width := textWidth(b.lines[0], headSize, true)
	for _, line := range b.lines[1:] {
		width = max(width, textWidth(line, textSize, false))
	}
	return point{width + 2*padX, lineHeight*len(b.lines) + 2*padY}
}

// beside tells whether an arrow goes from left to right or back, and not up or down.
func (a arrow) beside() bool { return a.from.row <= a.to.lastRow && a.to.row <= a.from.lastRow }

// above tells whether an arrow goes straight up or down.
func (a arrow) above() bool {
	return !a.beside() && a.from.column <= a.to.lastColumn && a.to.column <= a.from.lastColumn
}

// path of an arrow: straight if the boxes are beside or above each other, else to the side first and then up or down.
func (a arrow) path() []point {
	f, t := a.from.area, a.to.area
	switch {
	case a.beside():
		y := middle(f.y, f.y+f.height, t.y, t.y+t.height)
		if f.x < t.x {
			return []point{{f.x + f.width, y}, {t.x, y}}
		}
		return []point{{f.x, y}, {t.x + t.width, y}}
	case a.above():
		x := middle(f.x, f.x+f.width, t.x, t.x+t.width)
		if f.y < t.y {
			return []point{{x, f.y + f.height}, {x, t.y}}
		}
		return []point{{x, f.y}, {x, t.y + t.height}}
	}
	side, y, end := f.x, f.y+f.height/2, t.y
	if f.x < t.x {
		side = f.x + f.width
	}
	if f.y > t.y {
		end = t.y + t.height
	}
	x := t.x + t.width/2
	return []point{{side, y}, {x, y}, {x, end}}
}

// middle of what two ranges have in common.
func middle(from1, to1, from2, to2 int) int { return (max(from1, from2) + min(to1, to2)) / 2 }

// label is where what an arrow says stands: above a line that goes to the side, and beside one that goes up or down.
func (a arrow) label() area {
	path := a.path()
	width, height := labelWidth(a.lines), lineHeight*len(a.lines)
	from, to := path[0], path[1]
	if from.y == to.y {
		return area{(from.x + to.x - width) / 2, from.y - height - 4, width, height}
	}
	return area{from.x + 8, (from.y + to.y - height) / 2, width, height}
}

// bounds of a frame.
func (f frame) bounds() area {
	all := f.boxes[0].area
	for _, b := range f.boxes[1:] {
		x, y := min(all.x, b.x), min(all.y, b.y)
		all.width, all.height = max(all.x+all.width, b.x+b.width)-x, max(all.y+all.height, b.y+b.height)-y
		all.x, all.y = x, y
	}
	return area{all.x - framePad, all.y - framePad - frameLabel, all.width + 2*framePad, all.height + 2*framePad + frameLabel}
}

// heading is where the label of a frame stands.
func (f frame) heading() area {
	a := f.bounds()
	return area{a.x + framePad, a.y + 4, labelWidth([]string{f.label}), lineHeight}
}

func labelWidth(lines []string) int {
	width := 0
	for _, line := range lines {
		width = max(width, textWidth(line, textSize, false))
	}
	return width
}

// textWidth is how wide a text gets at most: as in DejaVu Sans, which is among the widest fonts that a reader may have.
func textWidth(text string, size int, bold bool) int {
	thousandths := 0
	for _, r := range text {
		switch {
		case strings.ContainsRune("iIjl.,:;'|! ", r):
			thousandths += 335
		case strings.ContainsRune("ftr()[]/-\"", r):
			thousandths += 430
		case strings.ContainsRune("mwMW@%+=<>~", r):
			thousandths += 950
		case r >= 'A' && r <= 'Z':
			thousandths += 720
		default:
			thousandths += 630
		}
	}
	if bold {
		thousandths = thousandths * 112 / 100
	}
	return (thousandths*size + 999) / 1000
}
