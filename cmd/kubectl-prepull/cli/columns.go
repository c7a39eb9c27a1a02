package cli

import (
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strings"

	"k8s.io/client-go/util/jsonpath"
)

// columns are headers and what is below them.
type columns []column

type column struct {
	header string
	path   *jsonpath.JSONPath
}

// bare is a path as kubectl takes it in columns: the braces and the first dot may be left out.
var bare = regexp.MustCompile(`^(\{\.?([^{}]+)\}|\.?([^{}]+))$`)

// parseColumns reads HEADER:path,HEADER:path.
func parseColumns(text string) (columns, error) {
	var all columns
	for part := range strings.SplitSeq(text, ",") {
		header, path, found := strings.Cut(part, ":")
		inner := bare.FindStringSubmatch(path)
		if !found || header == "" || inner == nil {
			return nil, fmt.Errorf("custom columns are HEADER:path,HEADER:path, such as IMAGE:.image,READY:.nodes.ready, and not %q", part)
		}
		parsed := jsonpath.New(header).AllowMissingKeys(true)
		if err := parsed.Parse("{." + inner[2] + inner[3] + "}"); err != nil {
			return nil, fmt.Errorf("custom column %s: %w", header, err)
		}
		all = append(all, column{header, parsed})
	}
	return all, nil
}

// write writes a row for each item. What an item does not have is <none>, as with kubectl.
func (c columns) write(w io.Writer, items []any) error {
	var headers []string
	for _, column := range c {
		headers = append(headers, column.header)
	}
	table := NewTable(headers...)
	for _, item := range items {
		var row []any
		for _, column := range c {
			results, err := column.path.FindResults(item)
			if err != nil {
				return fmt.Errorf("custom column %s: %w", column.header, err)
			}
			row = append(row, cell(results))
		}
		table.Row(row...)
	}
	return table.Write(w, false)
}

func cell(results [][]reflect.Value) string {
	var values []string
	for _, result := range results {
		for _, value := range result {
			values = append(values, fmt.Sprint(value.Interface()))
		}
	}
	if len(values) == 0 {
		return "<none>"
	}
	return strings.Join(values, ",")
}
