package cli

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/spf13/cobra"
)

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
