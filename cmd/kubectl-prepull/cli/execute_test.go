package cli

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// The duration of a flag has no days, as all of Go's, and the error says what it has.
func TestADurationSaysItsUnits(t *testing.T) {
	t.Parallel()
	for arguments, want := range map[string]string{
		"--for 1d": "error: invalid argument \"1d\" for \"--for\" flag: time: unknown unit \"d\" in duration \"1d\": a duration has the units h, m and s, such as 90s or 1h30m\nSee 'wait --help'.\n",
		"--for 1":  "error: invalid argument \"1\" for \"--for\" flag: time: missing unit in duration \"1\": a duration has the units h, m and s, such as 90s or 1h30m\nSee 'wait --help'.\n",
		"a":        "error: wait takes no arguments, and \"a\" is one\nSee 'wait --help'.\n",
	} {
		var out bytes.Buffer
		c := &cobra.Command{Use: "wait", Args: NoArguments, RunE: func(*cobra.Command, []string) error { return nil }}
		c.Flags().Duration("for", 0, "")
		c.SetErr(&out)
		if code := Execute(t.Context(), c, strings.Fields(arguments)); code != 2 || out.String() != want {
			t.Errorf("%s ends with %d and says %q", arguments, code, out.String())
		}
	}
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		err  error
		code int
		says string
	}{
		"it did what it was asked":         {nil, 0, ""},
		"it could not":                     {errors.New("the registry is away"), 1, "error: the registry is away\n"},
		"the command line is wrong":        {Usagef("--for is %d", 0), 2, "error: --for is 0\nSee 'wait --help'.\n"},
		"it did not happen in time":        {Timef("not within %s", "1m"), 3, "error: not within 1m\n"},
		"it did not, and says what it did": {fmt.Errorf("waiting: %w", Timef("not within 1m")), 3, "error: waiting: not within 1m\n"},
	} {
		var out bytes.Buffer
		c := &cobra.Command{Use: "wait", RunE: func(*cobra.Command, []string) error { return test.err }}
		c.SetErr(&out)
		if code := Execute(t.Context(), c, nil); code != test.code || out.String() != test.says {
			t.Errorf("%s: it ends with %d and says %q", name, code, out.String())
		}
	}
}
