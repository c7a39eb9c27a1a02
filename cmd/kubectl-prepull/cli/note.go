package cli

import (
	"fmt"
	"strings"
	"unicode"
)

// Note prints a line for a person, beside the output: without the control characters that somebody else's names may have.
func (e *Environment) Note(text string) {
	fmt.Fprintln(e.ErrOut, "note: "+strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, text))
}
