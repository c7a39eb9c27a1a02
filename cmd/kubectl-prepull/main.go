// kubectl-prepull is a plugin of kubectl: what kube-prepull has on the nodes, what it saves, and what new nodes should bring.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/cli"
)

// version is set with -ldflags "-X main.version=v1.2.3".
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second Ctrl-C does not wait for anything
	streams := genericiooptions.IOStreams{In: cli.Input(ctx, os.Stdin), Out: os.Stdout, ErrOut: os.Stderr}
	code := cli.Execute(ctx, newCommand(cli.NewEnvironment(streams)), os.Args[1:])
	stop()
	os.Exit(code)
}
