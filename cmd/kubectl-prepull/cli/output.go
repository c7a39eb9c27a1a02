package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/printers"
	"sigs.k8s.io/yaml"
)

// Output is the flag -o of a command: how what it found is printed.
type Output struct {
	format string

	// printer is for a format with a template; columns are those that somebody made up.
	printer printers.ResourcePrinter
	columns columns

	// list is the key of the items in what the command prints, and resource what -o name calls them. Both are empty for a
	// command that prints one thing.
	list, resource string
}

// Formats of output: for people, for people with wide terminals, and for programs.
const (
	formatTable = "table"
	formatWide  = "wide"
	formatJSON  = "json"
	formatYAML  = "yaml"
	formatName  = "name"

	customColumns = "custom-columns="
)

var formats = []string{formatTable, formatWide, formatJSON, formatYAML}

// templates are formats that are followed by one, as with kubectl.
var templates = []string{
	customColumns, "jsonpath=", "jsonpath-as-json=", "jsonpath-file=", "go-template=", "go-template-file=",
}

// AddFlag gives a command the flag, with completion. The default is a table.
func (o *Output) AddFlag(c *cobra.Command) {
	o.format = formatTable
	all := o.allowed()
	c.Flags().VarP(o, "output", "o", "format of the output: "+strings.Join(all, ", "))
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(all, cobra.ShellCompDirectiveNoFileComp))
}

// AddListFlag is AddFlag for a command that prints items below a key. -o name prints them as resource/name, and custom columns
// are of an item.
func (o *Output) AddListFlag(c *cobra.Command, key, resource string) {
	o.list, o.resource = key, resource
	o.AddFlag(c)
}

func (o *Output) allowed() []string {
	all := slices.Clone(formats)
	if o.resource != "" {
		all = append(all, formatName)
	}
	return append(all, templates...)
}

// String, Set and Type make it a value of a flag.
func (o *Output) String() string { return o.format }

// Set returns an error for anything that is not a format, and for a template that cannot be read.
func (o *Output) Set(format string) error {
	name, _, found := strings.Cut(format, "=")
	if found {
		name += "="
	}
	switch {
	case !slices.Contains(o.allowed(), name):
		return fmt.Errorf("it must be one of %s", strings.Join(o.allowed(), ", "))
	case name == customColumns:
		columns, err := parseColumns(strings.TrimPrefix(format, customColumns))
		if err != nil {
			return err
		}
		o.columns = columns
	case found:
		printer, err := genericclioptions.NewKubeTemplatePrintFlags().ToPrinter(format)
		if err != nil {
			return err
		}
		o.printer = printer
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

// Print writes a value in the format that was asked for, or calls table to write it for people. Templates and columns see what
// -o json prints.
func (o *Output) Print(w io.Writer, value any, table func() error) error {
	if o.ForPeople() {
		return table()
	}
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the output: %w", err)
	}
	switch text = append(text, '\n'); o.format {
	case formatJSON:
	case formatYAML:
		if text, err = yaml.JSONToYAML(text); err != nil {
			return fmt.Errorf("encoding the output: %w", err)
		}
	default:
		return o.printObject(w, text)
	}
	_, err = w.Write(text)
	return err
}

// printObject writes JSON with a template, in columns or by names.
func (o *Output) printObject(w io.Writer, text []byte) error {
	object := map[string]any{}
	if err := utiljson.Unmarshal(text, &object); err != nil {
		return fmt.Errorf("encoding the output: %w", err)
	}
	if o.printer != nil {
		return o.printer.PrintObj(&unstructured.Unstructured{Object: object}, w)
	}
	items := []any{object}
	if o.list != "" {
		items, _ = object[o.list].([]any)
	}
	if o.format != formatName {
		return o.columns.write(w, items)
	}
	for _, item := range items {
		name, _ := item.(map[string]any)["name"].(string)
		if _, err := fmt.Fprintf(w, "%s/%s\n", o.resource, name); err != nil {
			return err
		}
	}
	return nil
}
