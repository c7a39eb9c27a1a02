package pins

import (
	"maps"
	"slices"
	"strings"
)

// Operation is one of a JSON patch (RFC 6902). Only paths that were read are touched, so that fields which this program
// does not know are never lost.
type Operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value,omitempty"`
}

// pointer escapes a key for a JSON pointer (RFC 6901).
var pointer = strings.NewReplacer("~", "~0", "/", "~1")

// Annotate returns the operations that set annotations of the template and remove others, which it has.
func (t *Template) Annotate(set map[string]string, remove []string) []Operation {
	var operations []Operation
	metadata := t.path + "/metadata"
	switch {
	case len(set) == 0:
	case !t.hasMetadata:
		operations = append(operations, Operation{"add", metadata, map[string]any{"annotations": set}})
	case !t.hasAnnotations:
		operations = append(operations, Operation{"add", metadata + "/annotations", set})
	default:
		for _, key := range slices.Sorted(maps.Keys(set)) {
			op := "add"
			if _, found := t.annotations[key]; found {
				op = "replace"
			}
			operations = append(operations, Operation{op, metadata + "/annotations/" + pointer.Replace(key), set[key]})
		}
	}
	remove = slices.Clone(remove)
	slices.Sort(remove)
	for _, key := range remove {
		operations = append(operations, Operation{Op: "remove", Path: metadata + "/annotations/" + pointer.Replace(key)})
	}
	return operations
}
