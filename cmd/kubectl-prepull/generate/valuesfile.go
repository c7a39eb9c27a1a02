package generate

import (
	"fmt"
	"io"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"
	sigsyaml "sigs.k8s.io/yaml"
)

// valuesFiles are values of Helm in one tree. Its nodes have the lines of all files as if they were one.
type valuesFiles struct {
	names []string
	first []int // of each file, the line before its first one
	root  *yaml.Node
	lines int
}

// readValuesFiles reads files that Helm would be given one after the other: what a later one says replaces what an earlier one
// says, maps are merged, and null takes a key away.
func readValuesFiles(files []string, in io.Reader) (*valuesFiles, error) {
	all := &valuesFiles{root: &yaml.Node{Kind: yaml.MappingNode}}
	for _, file := range files {
		if err := all.read(file, in); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (f *valuesFiles) read(file string, in io.Reader) error {
	if file == "-" {
		file = stdin
	} else {
		opened, err := os.Open(file)
		if err != nil {
			return fmt.Errorf("reading values: %w", err)
		}
		defer opened.Close()
		in = opened
	}
	text, err := io.ReadAll(io.LimitReader(in, maxBytes+1))
	if err != nil {
		return fmt.Errorf("reading %s: %w", file, err)
	}
	if len(text) > maxBytes {
		return fmt.Errorf("%s is larger than %d MiB", file, maxBytes>>20)
	}
	text = utf8Of(text)
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return explain(file, part{line: 1, text: text}, err)
	}
	if len(document.Content) == 0 || document.Content[0].Kind != yaml.MappingNode {
		return fmt.Errorf("%s has no values in it", file)
	}
	shift(document.Content[0], f.lines)
	f.names, f.first = append(f.names, file), append(f.first, f.lines)
	f.lines += strings.Count(string(text), "\n") + 1
	f.root = merge(f.root, document.Content[0])
	return nil
}

// where is the file and the line of a node.
func (f *valuesFiles) where(node *yaml.Node) string {
	i := len(f.first) - 1
	for i > 0 && f.first[i] >= node.Line {
		i--
	}
	return fmt.Sprintf("%s:%d", f.names[i], node.Line-f.first[i])
}

func (f *valuesFiles) String() string { return strings.Join(f.names, ", ") }

func shift(node *yaml.Node, lines int) {
	node.Line += lines
	for _, child := range node.Content {
		shift(child, lines)
	}
}

// merge is a map with what another one says, as Helm merges values files.
func merge(base, over *yaml.Node) *yaml.Node {
	if base == nil || base.Kind != yaml.MappingNode || over.Kind != yaml.MappingNode {
		return over
	}
	merged := *base
	merged.Line, merged.Content = over.Line, nil
	replaced := map[string]bool{}
	overs := entries(over)
	for _, e := range entries(base) {
		value := e.value
		for _, o := range overs {
			if o.key.Value == e.key.Value {
				replaced[o.key.Value] = true
				value = merge(value, o.value)
			}
		}
		if value != e.value && isNull(value) {
			continue
		}
		merged.Content = append(merged.Content, e.key, value)
	}
	for _, o := range overs {
		if !replaced[o.key.Value] {
			merged.Content = append(merged.Content, o.key, o.value)
		}
	}
	return &merged
}

// entry is a key of a map and its value.
type entry struct{ key, value *yaml.Node }

// entries are those of a map, with what the last one says of a key that is there several times.
func entries(node *yaml.Node) []entry {
	var all []entry
	place := map[string]int{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		if at, known := place[key.Value]; known && key.Value != "<<" {
			all[at] = entry{key, value}
			continue
		}
		place[key.Value] = len(all)
		all = append(all, entry{key, value})
	}
	return all
}

// get is the value of a key in a map, with what is merged into that. It is nil if there is none.
func get(node *yaml.Node, key string) *yaml.Node {
	if value := own(node, key); value != nil {
		return value
	}
	return own(own(node, "<<"), key)
}

// own is the value of a key that a map has itself.
func own(node *yaml.Node, key string) *yaml.Node {
	if node = meant(node); node == nil || node.Kind != yaml.MappingNode {
		return nil
	}
	for i := len(node.Content) - 2; i >= 0; i -= 2 {
		if node.Content[i].Value == key {
			return meant(node.Content[i+1])
		}
	}
	return nil
}

// meant is the node that an alias stands for.
func meant(node *yaml.Node) *yaml.Node {
	if node != nil && node.Kind == yaml.AliasNode {
		return node.Alias
	}
	return node
}

func isNull(node *yaml.Node) bool { return node.Kind == yaml.ScalarNode && node.Tag == "!!null" }

// scalar is a text, empty for null and for what is none.
func scalar(node *yaml.Node) string {
	if node == nil || node.Kind != yaml.ScalarNode || isNull(node) {
		return ""
	}
	return node.Value
}

// helmValue is what Helm takes a scalar for. It reads YAML 1.1, where yes is true and 1_000 a number, and all numbers as
// floating point.
func helmValue(node *yaml.Node) any {
	const quoted = yaml.DoubleQuotedStyle | yaml.SingleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle
	if node == nil || node.Kind != yaml.ScalarNode {
		return nil
	}
	var value any
	if node.Style&quoted != 0 || sigsyaml.Unmarshal([]byte(node.Value), &value) != nil {
		return node.Value
	}
	return value
}

// written is a scalar as a chart prints it.
func written(node *yaml.Node) string {
	if value := helmValue(node); value != nil {
		return fmt.Sprint(value)
	}
	return ""
}
