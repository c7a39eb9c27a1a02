package cli

import (
	"fmt"
	"io"
	"strings"
)

// gap is between two columns.
const gap = "   "

// Table has columns that are aligned, with a header. Cells of type Text may have a colour.
type Table struct {
	header []Text
	rows   [][]Text
}

// NewTable has columns with these headers.
func NewTable(columns ...string) *Table {
	t := &Table{}
	for _, column := range columns {
		t.header = append(t.header, Bold(column))
	}
	return t
}

// Row adds a row. What is not a Text is printed as fmt.Print does; an empty cell is a dash.
func (t *Table) Row(cells ...any) {
	row := make([]Text, 0, len(cells))
	for _, cell := range cells {
		text, ok := cell.(Text)
		if !ok {
			text = Plain(fmt.Sprint(cell))
		}
		if text.text == "" {
			text = Faint("-")
		}
		row = append(row, text)
	}
	t.rows = append(t.rows, row)
}

// Len is how many rows there are.
func (t *Table) Len() int { return len(t.rows) }

// Write writes the header and the rows.
func (t *Table) Write(w io.Writer, colours bool) error {
	lines := append([][]Text{t.header}, t.rows...)
	var widths []int
	for _, line := range lines {
		for i, cell := range line {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], cell.width())
		}
	}
	var out strings.Builder
	for _, line := range lines {
		var row strings.Builder
		for i, cell := range line {
			row.WriteString(cell.Render(colours) + strings.Repeat(" ", widths[i]-cell.width()) + gap)
		}
		out.WriteString(strings.TrimRight(row.String(), " ") + "\n")
	}
	_, err := io.WriteString(w, out.String())
	return err
}
