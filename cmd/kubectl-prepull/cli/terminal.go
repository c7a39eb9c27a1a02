package cli

import (
	"math"
	"os"
	"strings"

	"golang.org/x/term"
)

// Of a terminal (ECMA-48 and DEC private modes): the cursor goes home, what follows is erased, and lines that are too long
// are cut off instead of continued.
const (
	CursorHome = "\x1b[H"
	EraseLine  = "\x1b[K"
	EraseBelow = "\x1b[J"
	WrapOff    = "\x1b[?7l"
	WrapOn     = "\x1b[?7h"
)

// Height of the terminal that output goes to, in lines; 0 if it is not known.
func (e *Environment) Height() int {
	file, ok := e.Out.(*os.File)
	if !ok {
		return 0
	}
	_, height, err := term.GetSize(int(file.Fd()))
	if err != nil {
		return 0
	}
	return height
}

// barWidth is how many characters a bar has between its ends.
const barWidth = 30

// Bar shows a part from 0 to 1. What is not all is never full.
func Bar(share float64) string {
	full := int(math.Floor(share * barWidth))
	return "[" + strings.Repeat("#", full) + strings.Repeat(".", barWidth-full) + "]"
}
