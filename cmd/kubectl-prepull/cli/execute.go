package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// Exit codes.
const (
	codeOK    = 0
	codeError = 1 // something could not be done
	codeUsage = 2 // the command line is wrong
	codeTime  = 3 // what was waited for did not happen in time
)

// usageError is an error of the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// Usagef is an error of the command line: its exit code is 2.
func Usagef(format string, args ...any) error {
	return usageError{fmt.Errorf(format, args...)}
}

// timeError is that something did not happen in time.
type timeError struct{ error }

func (e timeError) Unwrap() error { return e.error }

// Timef is an error of what was waited for, and did not happen in time: its exit code is 3.
func Timef(format string, args ...any) error {
	return timeError{fmt.Errorf(format, args...)}
}

// Late tells whether an error is one of what did not happen in time.
func Late(err error) bool { return errors.As(err, new(timeError)) }

// Execute runs a command and returns its exit code. An error is one sentence on the error stream.
func Execute(ctx context.Context, root *cobra.Command, args []string) int {
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetArgs(args)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{flagError(err)} })
	ran := false
	everyCommand(root, func(c *cobra.Command) {
		if c.RunE == nil {
			c.Args, c.RunE = cobra.ArbitraryArgs, group
		}
		run := c.RunE
		c.RunE = func(c *cobra.Command, args []string) error {
			ran = true
			return run(c, args)
		}
	})
	command, err := root.ExecuteContextC(ctx)
	if err == nil {
		return codeOK
	}
	var usage usageError
	if !ran || errors.As(err, &usage) {
		fmt.Fprintf(command.ErrOrStderr(), "error: %v\nSee '%s --help'.\n", err, command.CommandPath())
		return codeUsage
	}
	fmt.Fprintf(command.ErrOrStderr(), "error: %s\n", Sentence(err))
	if Late(err) {
		return codeTime
	}
	return codeError
}

// NoArguments are the arguments of a command that takes none.
func NoArguments(c *cobra.Command, arguments []string) error {
	if len(arguments) > 0 {
		return Usagef("%s takes no arguments, and %q is one", c.CommandPath(), arguments[0])
	}
	return nil
}

// flagError says which units a duration has, where what was given is none.
func flagError(err error) error {
	if strings.Contains(err.Error(), ": time: ") {
		return fmt.Errorf("%w: a duration has the units h, m and s, such as 90s or 1h30m", err)
	}
	return err
}

func everyCommand(c *cobra.Command, each func(*cobra.Command)) {
	each(c)
	for _, sub := range c.Commands() {
		everyCommand(sub, each)
	}
}

// group runs a command that only has other commands.
func group(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return Usagef("unknown command %q", args[0])
	}
	return c.Help()
}
