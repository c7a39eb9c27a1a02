// Command cluster runs a Kubernetes cluster of real nodes, and a registry that they pull from, until it is taken down.
//
//	cluster up --dir DIR --env FILE [--nodes 2] [--fake-nodes 0] [--bandwidth 0]
//	cluster down --dir DIR [--env FILE]
//	cluster burn --dir DIR [--for 1m]
//	cluster add-node|stop-node|start-node|remove-node NAME --dir DIR [--label k=v,...] [--taint k=v:Effect,...]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-prepull/kube-prepull/e2e/cluster"
	"github.com/kube-prepull/kube-prepull/e2e/lab"
	"github.com/kube-prepull/kube-prepull/e2e/registry"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

const usage = "usage: cluster up|down|burn|add-node|stop-node|start-node|remove-node; see the command's documentation"

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New(usage)
	}
	verb, args := args[0], args[1:]
	switch verb {
	case "up":
		return up(ctx, args)
	case "down":
		return down(ctx, args)
	case "burn":
		return burn(ctx, args)
	case lab.RegistryCommand:
		return registry.Run(ctx, args, os.Stdout)
	case "add-node", "stop-node", "start-node", "remove-node":
		return changeNode(ctx, verb, args)
	default:
		return errors.New(usage)
	}
}

func up(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("up", flag.ContinueOnError)
	dir := flags.String("dir", "", "folder of the cluster's state")
	env := flags.String("env", "cluster.env", "file to write for shells to source")
	nodes := flags.Int("nodes", 2, "real nodes, called node-1 and so on")
	fakes := flags.Int("fake-nodes", 0, "fake nodes, called fake-0 and so on")
	bandwidth := flags.Int64("bandwidth", 0, "bits per second of the registry, shared by all clients; 0 is no limit")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *nodes < 0 || *bandwidth < 0 {
		return errors.New("--nodes and --bandwidth cannot be negative")
	}
	// As an absolute path it can be sourced from everywhere; a shell looks for a bare name in PATH.
	envFile, err := filepath.Abs(*env)
	if err != nil {
		return err
	}
	options := cluster.Options{Dir: *dir, FakeNodes: *fakes, Progress: os.Stderr}
	for i := range *nodes {
		options.Nodes = append(options.Nodes, cluster.Node{Name: fmt.Sprintf("node-%d", i+1)})
	}
	start := time.Now()
	l, err := lab.Up(ctx, options, *bandwidth)
	if err != nil {
		return err
	}
	if err := l.WriteEnv(envFile); err != nil {
		return errors.Join(err, l.Down(context.WithoutCancel(ctx)))
	}
	fmt.Printf(`A Kubernetes cluster is up (%s): %d real nodes, %d fake ones, and a registry at %s.

  . %s           # sets KUBECONFIG, REGISTRY and PATH, so that kubectl and helm are found
  kubectl get nodes
  make cluster-down     # takes everything down again
`, time.Since(start).Round(100*time.Millisecond), *nodes, *fakes, l.Registry, lab.Quote(envFile))
	return nil
}

func down(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("down", flag.ContinueOnError)
	dir := flags.String("dir", "", "folder of the cluster's state")
	env := flags.String("env", "", "file that up wrote")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := cluster.Down(ctx, *dir); err != nil {
		return err
	}
	if *env != "" {
		if err := os.Remove(*env); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	fmt.Println("The cluster is down; nothing of it is left.")
	return nil
}

func changeNode(ctx context.Context, verb string, args []string) error {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		return fmt.Errorf("usage: cluster %s NAME --dir DIR", verb)
	}
	node := cluster.Node{Name: args[0], Labels: map[string]string{}}
	flags := flag.NewFlagSet(verb, flag.ContinueOnError)
	dir := flags.String("dir", "", "folder of the cluster's state")
	labels := flags.String("label", "", "labels of a new node: k=v,...")
	taints := flags.String("taint", "", "taints of a new node: k=v:Effect,...")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	for label := range fields(*labels) {
		key, value, _ := strings.Cut(label, "=")
		node.Labels[key] = value
	}
	for taint := range fields(*taints) {
		pair, effect, ok := strings.Cut(taint, ":")
		if !ok {
			return fmt.Errorf("taint %q has no effect: write key=value:NoSchedule", taint)
		}
		key, value, _ := strings.Cut(pair, "=")
		node.Taints = append(node.Taints, corev1.Taint{Key: key, Value: value, Effect: corev1.TaintEffect(effect)})
	}
	c, err := cluster.Open(*dir)
	if err != nil {
		return err
	}
	switch verb {
	case "add-node":
		return c.AddNode(ctx, node)
	case "stop-node":
		return c.StopNode(ctx, node.Name)
	case "start-node":
		return c.StartNode(ctx, node.Name)
	default:
		return c.RemoveNode(ctx, node.Name)
	}
}

// fields are the parts of a comma-separated list, without empty ones.
func fields(list string) func(func(string) bool) {
	return strings.FieldsFuncSeq(list, func(r rune) bool { return r == ',' })
}
