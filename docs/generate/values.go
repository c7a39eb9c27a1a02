package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

type value struct{ key, preset, doc string }

type values []value

// parseValues reads the keys of a values.yaml with the comments above them.
func parseValues(text []byte) (values, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return nil, err
	}
	if len(document.Content) == 0 {
		return nil, fmt.Errorf("it is empty")
	}
	return valuesOf(document.Content[0], "")
}

// valuesOf descends as far as there are comments: below, what a mapping holds is its default.
func valuesOf(mapping *yaml.Node, prefix string) (values, error) {
	var found values
	for i := 0; i < len(mapping.Content); i += 2 {
		key, node := mapping.Content[i], mapping.Content[i+1]
		v := value{key: prefix + key.Value, doc: comment(key.HeadComment)}
		if node.Kind == yaml.MappingNode && commented(node) {
			inner, err := valuesOf(node, v.key+".")
			if err != nil {
				return nil, err
			}
			if v.doc != "" {
				found = append(found, v)
			}
			found = append(found, inner...)
			continue
		}
		if v.doc == "" {
			return nil, fmt.Errorf("%s has no comment", v.key)
		}
		var preset any
		if err := node.Decode(&preset); err != nil {
			return nil, err
		}
		text, err := json.Marshal(preset)
		if err != nil {
			return nil, err
		}
		v.preset = "`" + string(text) + "`"
		found = append(found, v)
	}
	return found, nil
}

func commented(n *yaml.Node) bool {
	if n.HeadComment != "" {
		return true
	}
	for _, child := range n.Content {
		if commented(child) {
			return true
		}
	}
	return false
}

func comment(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(strings.TrimPrefix(lines[i], "#"))
	}
	return strings.Join(lines, " ")
}

func (vs values) page() string {
	var out strings.Builder
	out.WriteString("# Values of the Helm chart\n\n| Key | Default | Meaning |\n| --- | --- | --- |\n")
	for _, v := range vs {
		fmt.Fprintf(&out, "| `%s` | %s | %s |\n", v.key, cell(v.preset), cell(v.doc))
	}
	return out.String()
}
