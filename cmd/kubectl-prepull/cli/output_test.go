package cli

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

func TestOutput(t *testing.T) {
	type value struct {
		Image     string  `json:"image"`
		SizeBytes int64   `json:"sizeBytes"`
		Seconds   float64 `json:"seconds"`
	}
	for format, want := range map[string]string{
		"table": "a table\n",
		"wide":  "a table\n",
		"json":  "{\n  \"image\": \"app\",\n  \"sizeBytes\": 12000000000,\n  \"seconds\": 0.5\n}\n",
		"yaml":  "image: app\nseconds: 0.5\nsizeBytes: 12000000000\n",
	} {
		t.Run(format, func(t *testing.T) {
			var o Output
			c := &cobra.Command{Use: "c"}
			o.AddFlag(c)
			if err := c.ParseFlags([]string{"-o", format}); err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			err := o.Print(&out, value{"app", 12000000000, 0.5}, func() error { out.WriteString("a table\n"); return nil })
			if diff := cmp.Diff(want, out.String()); diff != "" || err != nil {
				t.Errorf("error %v (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestOutputThatSomebodyMadeUp(t *testing.T) {
	t.Parallel()
	type item struct {
		Name      string         `json:"name"`
		SizeBytes int64          `json:"sizeBytes"`
		Nodes     map[string]int `json:"nodes"`
		Users     []string       `json:"users,omitempty"`
	}
	value := map[string][]item{"items": {{"a", 12000000000, map[string]int{"ready": 3}, []string{"x", "y"}}, {"b", 5, nil, nil}}}
	file := t.TempDir() + "/template"
	if err := os.WriteFile(file, []byte("{.items[1].name}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for format, want := range map[string]string{
		"name":                      "node/a\nnode/b\n",
		"jsonpath={.items[*].name}": "a b",
		"jsonpath={range .items[*]}{.name}={.sizeBytes}{\"\\n\"}{end}":                               "a=12000000000\nb=5\n",
		"jsonpath={.items[0].nothing}":                                                               "",
		"jsonpath-file=" + file:                                                                      "b",
		"jsonpath-as-json={.items[*].name}":                                                          "[\n    \"a\",\n    \"b\"\n]\n",
		"go-template={{range .items}}{{.name}};{{end}}":                                              "a;b;",
		"custom-columns=NAME:.name,SIZE:sizeBytes,READY:{.nodes.ready},USERS:{users[*]},NO:.nothing": "NAME   SIZE          READY    USERS    NO\na      12000000000   3        x,y      <none>\nb      5             <none>   <none>   <none>\n",
	} {
		var o Output
		c := &cobra.Command{Use: "c"}
		o.AddListFlag(c, "items", "node")
		if err := c.ParseFlags([]string{"-o", format}); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		err := o.Print(&out, value, func() error { t.Error("it prints a table"); return nil })
		if diff := cmp.Diff(want, out.String()); diff != "" || err != nil {
			t.Errorf("%s: error %v (-want +got):\n%s", format, err, diff)
		}
	}
}

func TestColumnsOfOneThing(t *testing.T) {
	t.Parallel()
	var o Output
	c := &cobra.Command{Use: "c"}
	o.AddFlag(c)
	if err := c.ParseFlags([]string{"-o", "custom-columns=READY:.images.ready"}); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := o.Print(&out, map[string]any{"images": map[string]int{"ready": 3}}, nil); err != nil || out.String() != "READY\n3\n" {
		t.Errorf("it prints %q: %v", out.String(), err)
	}
}

func TestFormatsThatAreWrong(t *testing.T) {
	t.Parallel()
	const one = "it must be one of table, wide, json, yaml, custom-columns=, jsonpath=, jsonpath-as-json=, jsonpath-file=, go-template=, go-template-file="
	for format, want := range map[string]string{
		"xml": one, "": one, "name": one, "xml=a": one, "jsonpath": one, "custom-columns": one, "table=": one,
		"jsonpath=":                "template format specified but no template given",
		"jsonpath={.a":             "error parsing jsonpath {.a",
		"go-template={{":           "error parsing template {{",
		"jsonpath-file=/none":      "error reading --template /none",
		"custom-columns=":          "custom columns are HEADER:path",
		"custom-columns=A":         "custom columns are HEADER:path",
		"custom-columns=A:.a,B":    "custom columns are HEADER:path",
		"custom-columns=A:.a[":     "custom column A: ",
		"custom-columns=A:{.a}{b}": "custom columns are HEADER:path",
	} {
		var o Output
		c := &cobra.Command{Use: "c"}
		o.AddFlag(c)
		if err := c.ParseFlags([]string{"-o", format}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", format, err, want)
		}
	}
}

func TestTable(t *testing.T) {
	table := NewTable("NODE", "STATE", "IMAGES")
	table.Row("node-1", Good("warm"), "2/2")
	table.Row("a-longer-node", Bad("failing"), "")
	table.Row("nö", Busy("bad\x1b[2J\nwords"), 3)
	for name, c := range map[string]struct {
		colours bool
		want    string
	}{
		"plain": {false, "NODE            STATE           IMAGES\n" +
			"node-1          warm            2/2\n" +
			"a-longer-node   failing         -\n" +
			"nö              bad\uFFFD[2J words   3\n"},
		"with colours": {true, "\x1b[1mNODE\x1b[0m            \x1b[1mSTATE\x1b[0m           \x1b[1mIMAGES\x1b[0m\n" +
			"node-1          \x1b[32mwarm\x1b[0m            2/2\n" +
			"a-longer-node   \x1b[31mfailing\x1b[0m         \x1b[2m-\x1b[0m\n" +
			"nö              \x1b[33mbad\uFFFD[2J words\x1b[0m   3\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			err := table.Write(&out, c.colours)
			if diff := cmp.Diff(c.want, out.String()); diff != "" || err != nil {
				t.Errorf("error %v (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestNumbers(t *testing.T) {
	for seconds, want := range map[float64]string{0: "0.0 s", 0.44: "0.4 s", 9.96: "10 s", 119: "119 s", 119.6: "2 min 0 s", 3725: "62 min 5 s", 7500: "2 h 5 min"} {
		if got := Seconds(seconds); got != want {
			t.Errorf("%v seconds are %q, want %q", seconds, got, want)
		}
	}
}
