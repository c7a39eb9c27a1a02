package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"
)

// Output is the flag -o of a command: how what it found is printed.
type Output struct{ format string }

// Formats of output: for people, for people with wide terminals, and for programs.
const (
	formatTable = "table"
	formatWide  = "wide"
	formatJSON  = "json"
	formatYAML  = "yaml"
)

var formats = []string{formatTable, formatWide, formatJSON, formatYAML}

// AddFlag gives a command the flag, with completion. The default is a table.
func (o *Output) AddFlag(c *cobra.Command) {
	o.format = formatTable
	c.Flags().VarP(o, "output", "o", "format of the output: "+strings.Join(formats, ", "))
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
}

// String, Set and Type make it a value of a flag.
func (o *Output) String() string { return o.format }

// Set returns an error for anything that is not a format.
func (o *Output) Set(format string) error {
	if !slices.Contains(formats, format) {
		return fmt.Errorf("it must be one of %s", strings.Join(formats, ", "))
	}
	o.format = format
	return nil
}

// Type is what the help calls a value.
func (o *Output) Type() string { return "format" }

// Wide tells whether people want to see all columns.
func (o *Output) Wide() bool { return o.format == formatWide }

// ForPeople tells whether the output is a table, wide or not.
func (o *Output) ForPeople() bool { return o.format == formatTable || o.format == formatWide }

// Print writes a value as JSON or YAML, or calls table to write it for people.
func (o *Output) Print(w io.Writer, value any, table func() error) error {
	if o.ForPeople() {
		return table()
	}
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the output: %w", err)
	}
	text = append(text, '\n')
	if o.format == formatYAML {
		if text, err = yaml.JSONToYAML(text); err != nil {
			return fmt.Errorf("encoding the output: %w", err)
		}
	}
	_, err = w.Write(text)
	return err
}
