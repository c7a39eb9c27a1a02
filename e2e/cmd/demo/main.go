// Command demo shows kube-prepull at work: a real cluster of two nodes whose registry is limited to 100 Mbit/s, a shop
// in a labelled namespace, a third node that joins, and one of many images that changes. It prints what happened and leaves
// the cluster running.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/kube-prepull/kube-prepull/e2e/cluster"
	"github.com/kube-prepull/kube-prepull/e2e/lab"
	"github.com/kube-prepull/kube-prepull/e2e/registry"
)

// bandwidth of the registry in bits per second: a node's share of a busy link.
const bandwidth = 100e6

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

const usage = "usage: demo up --dir DIR --env FILE"

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New(usage)
	}
	verb, args := args[0], args[1:]
	if verb == lab.RegistryCommand {
		return registry.Run(ctx, args, os.Stdout)
	}
	if verb != "up" {
		return errors.New(usage)
	}
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	dir := flags.String("dir", "", "folder of the cluster's state")
	env := flags.String("env", "demo.env", "file to write for shells to source")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if entries, err := os.ReadDir(*dir); err == nil && len(entries) > 0 {
		return fmt.Errorf("there is a demo already, in %s: make demo-down removes it", *dir)
	}
	built, err := os.MkdirTemp("", "kube-prepull-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(built)
	if err := build(ctx, built); err != nil {
		return err
	}
	start := time.Now()
	l, err := lab.Up(ctx, cluster.Options{Dir: *dir, Progress: os.Stderr, Nodes: []cluster.Node{{Name: "node-1"}, {Name: "node-2"}}}, bandwidth)
	if err != nil {
		return err
	}
	s := &story{lab: l, built: built, start: start, out: os.Stdout}
	s.say("A Kubernetes cluster with 2 nodes is up; its registry gives 100 Mbit/s to all of them together.")
	err = s.tell(ctx)
	if err == nil {
		err = l.WriteEnv(*env)
	}
	if err != nil {
		return errors.Join(err, l.Down(context.WithoutCancel(ctx)))
	}
	fmt.Printf(`
The cluster is still running. Look around:

  . %s
  kubectl get ppi                                        # every image, and why it is where it is
  kubectl -n kube-prepull get daemonsets,pods -o wide    # what pulls them
  kubectl -n shop set image deployment/checkout app=%s/shop/checkout:v2

docs/tutorial.md goes on from here, step by step.

  make demo-down                                         # remove it all
`, *env, l.Registry)
	return nil
}
