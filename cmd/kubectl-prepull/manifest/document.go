// Package manifest finds the images in what is not in a cluster yet: manifests, kustomizations and Helm values.
package manifest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"

	"sigs.k8s.io/yaml"
)

// maxBytes is how much one file or stream may be. More is no manifest that somebody wrote or rendered.
const maxBytes = 256 << 20

// Document is one YAML or JSON object of a file, and where it begins.
type Document struct {
	File   string
	Line   int
	Object map[string]any

	// Text is what it was read from.
	Text []byte
}

// Where is the place of the document, for messages.
func (d Document) Where() string { return fmt.Sprintf("%s:%d", d.File, d.Line) }

// ReadDocuments reads the YAML documents of a file or a stream; JSON is YAML. Those without content are left out. The error
// says in which line what is wrong.
func ReadDocuments(file string, r io.Reader) ([]Document, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", file, err)
	}
	if len(text) > maxBytes {
		return nil, fmt.Errorf("%s is larger than %d MiB", file, maxBytes>>20)
	}
	if bytes.IndexByte(text, 0) >= 0 {
		return nil, fmt.Errorf("%s is not a text file", file)
	}
	var documents []Document
	for _, part := range split(text) {
		var object any
		if err := yaml.Unmarshal(part.text, &object); err != nil {
			return nil, explain(file, part, err)
		}
		switch o := object.(type) {
		case nil:
		case map[string]any:
			documents = append(documents, Document{File: file, Line: part.begin(), Object: o, Text: part.text})
		default:
			return nil, fmt.Errorf("%s:%d: this is not a Kubernetes object", file, part.begin())
		}
	}
	return documents, nil
}

// part of a stream: a document, and the line that it begins in.
type part struct {
	line int
	text []byte
}

// begin is the line of the first content.
func (p part) begin() int {
	line := p.line
	for _, l := range bytes.Split(p.text, []byte("\n")) {
		if l = bytes.TrimSpace(l); len(l) > 0 && l[0] != '#' && !bytes.Equal(l, []byte("---")) {
			return line
		}
		line++
	}
	return p.line
}

// lines are some of the file, as far as the part has them.
func (p part) lines(first, last int) []byte {
	all := bytes.SplitAfter(p.text, []byte("\n"))
	first, last = max(first-p.line, 0), min(last-p.line+1, len(all))
	return bytes.Join(all[min(first, last):last], nil)
}

// split divides a stream where a line begins with three dashes, the only place where YAML allows them.
func split(text []byte) []part {
	var parts []part
	current := part{line: 1}
	line := 0
	lines := bufio.NewReader(bytes.NewReader(text))
	for {
		l, err := lines.ReadBytes('\n')
		line++
		if bytes.HasPrefix(l, []byte("---")) && (len(l) == 3 || bytes.IndexByte([]byte(" \t\r\n"), l[3]) >= 0) {
			parts = append(parts, current)
			current = part{line: line}
		}
		current.text = append(current.text, l...)
		if err != nil {
			return append(parts, current)
		}
	}
}

var (
	yamlLine = regexp.MustCompile(`^(?:error converting YAML to JSON: )?(?:yaml: )?(?:line (\d+): )?`)

	// parserError is one of those errors whose line the library counts from 0.
	parserError = regexp.MustCompile(`^did not find expected (key|node content|'-' indicator|',' or '[\]}]'|<)`)
)

// action begins what only a template engine understands.
const action = "{{"

// errNotRendered is what is wrong with most manifests that are no YAML.
var errNotRendered = errors.New("this is a template that is not rendered: pipe the output of `helm template` in")

// explain says in which line of a file a document is broken, and how.
func explain(file string, p part, err error) error {
	text := err.Error()
	found := yamlLine.FindStringSubmatch(text)
	line, near := p.begin(), p.text
	if n, err := strconv.Atoi(found[1]); err == nil {
		line = p.line + n - 1
		if parserError.MatchString(text[len(found[0]):]) {
			line++
		}
		near = p.lines(line-1, line+1)
	}
	if bytes.Contains(near, []byte(action)) {
		return fmt.Errorf("%s:%d: %w", file, line, errNotRendered)
	}
	return fmt.Errorf("%s:%d: this is not YAML: %w", file, line, errors.New(text[len(found[0]):]))
}
