// Package generate finds the images in what is not in a cluster yet: manifests, kustomizations and Helm values.
package generate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"
)

// maxBytes is how much one file or stream may be. More is no manifest that somebody wrote or rendered.
const maxBytes = 256 << 20

// Document is one YAML or JSON object of a file, and where it begins.
type Document struct {
	File   string
	Line   int
	Object map[string]any

	part part
}

// Where is the place of the document, for messages.
func (d Document) Where() string { return fmt.Sprintf("%s:%d", d.File, d.Line) }

// WhereIs is the first place in the document that has these words, for messages.
func (d Document) WhereIs(words string) string {
	before, _, found := bytes.Cut(d.part.text, []byte(words))
	if strings.TrimSpace(words) == "" || !found {
		return d.Where()
	}
	return fmt.Sprintf("%s:%d", d.File, d.part.line+bytes.Count(before, []byte("\n")))
}

// Input is what was read.
type Input struct {
	// Documents are the objects in it.
	Documents []Document

	// Notes are what a person should know, a line each.
	Notes []string

	// Problems are what could not be read, each with its place.
	Problems []error
}

func (in *Input) add(more Input) {
	in.Documents = append(in.Documents, more.Documents...)
	in.Notes = append(in.Notes, more.Notes...)
	in.Problems = append(in.Problems, more.Problems...)
}

// ReadDocuments reads the YAML documents and the JSON values of a file or a stream. Those without content are left out, and
// those that are broken, or no objects, are problems. The error says that the whole could not be read.
func ReadDocuments(file string, r io.Reader) (Input, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxBytes+1))
	if err != nil {
		return Input{}, fmt.Errorf("reading %s: %w", file, err)
	}
	if len(text) > maxBytes {
		return Input{}, fmt.Errorf("%s is larger than %d MiB", file, maxBytes>>20)
	}
	if text = utf8Of(text); bytes.IndexByte(text, 0) >= 0 {
		return Input{}, fmt.Errorf("%s is not a text file", file)
	}
	var in Input
	for _, part := range split(text) {
		object, err := part.read()
		if twice := repeated.FindStringSubmatch(fmt.Sprint(err)); twice != nil {
			in.Notes = append(in.Notes, fmt.Sprintf("%s:%d: the key %s is there twice, and the last one counts here; kubectl apply refuses it", file, part.begin(), twice[1]))
			err = yaml.Unmarshal(part.text, &object)
		}
		if err != nil {
			in.Problems = append(in.Problems, explain(file, part, err))
			continue
		}
		switch o := object.(type) {
		case nil:
		case map[string]any:
			in.Documents = append(in.Documents, Document{File: file, Line: part.begin(), Object: o, part: part})
		default:
			in.Problems = append(in.Problems, fmt.Errorf("%s:%d: this is not a Kubernetes object", file, part.begin()))
		}
	}
	return in, nil
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

// last is the last line.
func (p part) last() int {
	return p.line + bytes.Count(bytes.TrimRight(p.text, "\r\n"), []byte("\n"))
}

// read is the value of a part. Not all JSON is YAML: a character may be written as two halves.
func (p part) read() (value any, err error) {
	if json.Unmarshal(p.text, &value) == nil {
		return value, nil
	}
	// With a merge key, a key that replaces a merged one would count as one that is there twice.
	if bytes.Contains(p.text, []byte("<<:")) {
		err = yaml.Unmarshal(p.text, &value)
	} else {
		err = yaml.UnmarshalStrict(p.text, &value)
	}
	return value, err
}

// split divides a stream where a line begins with three dashes or dots, the only place where YAML allows them, and after
// each JSON value.
func split(text []byte) []part {
	var parts []part
	current := part{line: 1}
	line := 0
	for l := range bytes.Lines(text) {
		line++
		if marks(l, "---") {
			parts = append(parts, current.values()...)
			current = part{line: line}
		}
		current.text = append(current.text, l...)
		if marks(l, "...") {
			parts = append(parts, current.values()...)
			current = part{line: line + 1}
		}
	}
	return append(parts, current.values()...)
}

// marks tells whether a line begins with a mark that stands alone.
func marks(line []byte, mark string) bool {
	rest, found := bytes.CutPrefix(line, []byte(mark))
	return found && (len(rest) == 0 || bytes.IndexByte([]byte(" \t\r\n"), rest[0]) >= 0)
}

// values divides a part of JSON values, as many programs write them, one after the other. What is not JSON stays whole.
func (p part) values() []part {
	text, line := p.text, p.line
	skip := func(n int) {
		n += len(text[n:]) - len(bytes.TrimLeft(text[n:], " \t\r\n"))
		line += bytes.Count(text[:n], []byte("\n"))
		text = text[n:]
	}
	if marks(text, "---") {
		skip(len("---"))
	}
	if skip(0); !bytes.HasPrefix(text, []byte("{")) {
		return []part{p}
	}
	var parts []part
	for len(text) > 0 {
		var value json.RawMessage
		if json.NewDecoder(bytes.NewReader(text)).Decode(&value) != nil {
			return append(parts, part{line: line, text: text}) // the reader of YAML says what is wrong with it
		}
		parts = append(parts, part{line: line, text: value})
		skip(len(value))
	}
	return parts
}

var (
	yamlLine = regexp.MustCompile(`^(?:error converting YAML to JSON: )?(?:yaml: )?(?:line (\d+): )?`)

	// parserError is one of those errors whose line the library counts from 0.
	parserError = regexp.MustCompile(`^did not find expected (key|node content|'-' indicator|',' or '[\]}]'|<)`)
)

// unknownAnchor is an error that the library gives no line of.
var unknownAnchor = regexp.MustCompile(`unknown anchor '(.+)' referenced`)

// repeated is an error about a key that a map has twice.
var repeated = regexp.MustCompile(`key ("[^"]*") already set in map`)

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
	} else if anchor := unknownAnchor.FindStringSubmatch(text); anchor != nil {
		before, _, _ := bytes.Cut(p.text, []byte("*"+anchor[1]))
		line = p.line + bytes.Count(before, []byte("\n"))
	}
	line = min(line, p.last())
	if bytes.Contains(near, []byte(action)) {
		return fmt.Errorf("%s:%d: %w", file, line, errNotRendered)
	}
	return fmt.Errorf("%s:%d: this is not YAML: %w", file, line, errors.New(text[len(found[0]):]))
}
