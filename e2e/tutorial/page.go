// Package tutorial runs docs/tutorial.md: its commands on a cluster, in their order, and compares what they print with what
// the page shows.
package tutorial

import (
	"regexp"
	"strings"
)

// example is a command of a page, and the lines that the page shows below it.
type example struct {
	command string
	output  []string
}

// examplesOf a page are in its blocks of the language console: a line that begins with "$ " is a command, and what follows up
// to the next one is its output.
func examplesOf(page string) []example {
	var found []example
	inside := false
	for line := range strings.SplitSeq(page, "\n") {
		switch {
		case strings.HasPrefix(line, "```"):
			inside = line == "```console"
		case !inside:
		case strings.HasPrefix(line, "$ "):
			found = append(found, example{command: strings.TrimPrefix(line, "$ ")})
		case len(found) > 0 && line != "":
			last := &found[len(found)-1]
			last.output = append(last.output, line)
		}
	}
	return found
}

// rest is a line of a page that stands for any number of lines.
const rest = "..."

// variable is what differs from one run to the next. Two texts of one kind are the same to a reader.
var variable = []struct {
	pattern *regexp.Regexp
	kind    string
}{
	{regexp.MustCompile(`\b\d+\.\d+\.\d+\.\d+:\d+\b`), "ADDRESS"},
	{regexp.MustCompile(`-[0-9a-f]{8,10}-[a-z0-9]{5}\b`), "-POD"},
	{regexp.MustCompile(`-[0-9a-f]{8}\b`), "-HASH"},
	{regexp.MustCompile(`\bnode-\d+\b`), "NODE"},
	{regexp.MustCompile(`\b\d+(\.\d+)? [kMG]B\b`), "SIZE"},
	{regexp.MustCompile(`\b\d+ %`), "PART"},
	{regexp.MustCompile(`\b\d+ (h|min)( \d+ (min|s))?\b|\b\d+(\.\d+)? s\b`), "TIME"},
	{regexp.MustCompile(`\b(\d+[dhms])+\b`), "AGE"},
}

// words of a line, with a word for the kind of each text that differs from run to run. How wide a column is depends on these.
func words(line string) string {
	for _, v := range variable {
		line = v.pattern.ReplaceAllString(line, v.kind)
	}
	return strings.Join(strings.Fields(line), " ")
}

// shows tells whether lines of a page are what was printed.
func shows(page, printed []string) bool {
	switch {
	case len(page) == 0:
		return len(printed) == 0
	case page[0] == rest:
		return shows(page[1:], printed) || len(printed) > 0 && shows(page, printed[1:])
	}
	return len(printed) > 0 && words(page[0]) == words(printed[0]) && shows(page[1:], printed[1:])
}
