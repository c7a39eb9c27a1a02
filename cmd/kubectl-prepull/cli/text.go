package cli

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Text is a piece of output that looks different on a terminal with colours.
type Text struct {
	text  string
	style style
}

// style is the parameter of an ANSI escape sequence; empty for none.
type style string

// Plain text, which what the cluster says is shown as: control characters in it are not let through to the terminal.
func Plain(text string) Text { return Text{text: printable(text)} }

// Bold text: a heading.
func Bold(text string) Text { return Text{printable(text), "1"} }

// Faint text: what may be skipped.
func Faint(text string) Text { return Text{printable(text), "2"} }

// Good text: all is well.
func Good(text string) Text { return Text{printable(text), "32"} }

// Busy text: something is under way.
func Busy(text string) Text { return Text{printable(text), "33"} }

// Bad text: something is wrong.
func Bad(text string) Text { return Text{printable(text), "31"} }

// String is the text without its looks.
func (t Text) String() string { return t.text }

// Render is the text as it is written.
func (t Text) Render(colours bool) string {
	if !colours || t.style == "" || t.text == "" {
		return t.text
	}
	return "\x1b[" + string(t.style) + "m" + t.text + "\x1b[0m"
}

func (t Text) width() int { return utf8.RuneCountInString(t.text) }

// printable replaces what would move the cursor or change the terminal: names of images and words of registries are
// somebody else's. A line break becomes a space.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			return ' '
		case !unicode.IsPrint(r):
			return unicode.ReplacementChar
		}
		return r
	}, text)
}
