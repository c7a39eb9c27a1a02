// Command build builds a command of this module, as "go build" does, and says meanwhile how far it is. It is made of the
// standard library alone, so that it is there at once.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/kube-prepull/kube-prepull/e2e/cluster/gocommand"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "build:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("usage: build FILE PACKAGE")
	}
	return gocommand.Run(ctx, ".", os.Stderr, 0, []string{"build", "-v", "-o", args[0], args[1]})
}
