package cli

import (
	"bytes"
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

func TestOutputOfAnotherFormat(t *testing.T) {
	var o Output
	c := &cobra.Command{Use: "c"}
	o.AddFlag(c)
	if err := c.ParseFlags([]string{"-o", "xml"}); err == nil {
		t.Error("no error")
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
