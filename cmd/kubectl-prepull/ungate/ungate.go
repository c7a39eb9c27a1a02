// Package ungate is the command kubectl prepull ungate: it lets pods on nodes that wait for their images.
package ungate

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/cli"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/complete"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/inventory"
	"github.com/kube-prepull/kube-prepull/prepull/untaint"
)

// Command is kubectl prepull ungate.
func Command(env *cli.Environment) *cobra.Command {
	var all bool
	var key string
	c := &cobra.Command{
		Use:   "ungate NODE... | --all",
		Short: "Take the startup taint from nodes, so that pods start there before the images are there",
		Long: `Take the startup taint from nodes, so that pods start there before the images are there. It needs nothing but the API
server and the permission to patch nodes: no manager, no webhook, no CRD. A node that is untainted stays so.`,
		Example: `  kubectl prepull ungate node-7
  kubectl prepull ungate --all
  kubectl prepull ungate --all --taint startup-taint.cluster-autoscaler.kubernetes.io/images`,
		ValidArgsFunction: complete.Nodes(env),
		RunE: func(c *cobra.Command, nodes []string) error {
			if all == (len(nodes) > 0) {
				return cli.Usagef("name nodes, or give --all")
			}
			if err := inventory.CheckTaintKey(key); err != nil {
				return err
			}
			return run(c.Context(), env, nodes, key)
		},
	}
	c.Flags().BoolVar(&all, "all", false, "all nodes that have the taint")
	c.Flags().StringVar(&key, "taint", "", "key of the taint; by default that of the manager's configuration, and kube-prepull.io/warming where there is none")
	return c
}

func run(ctx context.Context, env *cli.Environment, names []string, key string) error {
	c, err := env.Client()
	if err != nil {
		return err
	}
	if key == "" {
		if key, _, err = inventory.ReadGateKey(ctx, c, env.Home); err != nil {
			return fmt.Errorf("%w; --taint names the taint", err)
		}
	}
	if len(names) == 0 {
		if names, err = inventory.NodesWithTaint(ctx, c, key); err != nil {
			return err
		}
		if len(names) == 0 {
			_, err := fmt.Fprintf(env.Out, "no node has the taint %s; --taint names another one\n", key)
			return err
		}
	}
	failed := 0
	for _, name := range names {
		had, err := untaintNode(ctx, c, name, key)
		switch {
		case err != nil:
			failed++
			fmt.Fprintf(env.ErrOut, "node/%s: %s\n", name, cli.Sentence(err))
		case had:
			fmt.Fprintf(env.Out, "node/%s untainted\n", name)
		default:
			fmt.Fprintf(env.Out, "node/%s has no taint %s\n", name, key)
		}
	}
	if failed > 0 {
		return errors.New(countOf(failed, len(names)))
	}
	return nil
}

func countOf(failed, all int) string {
	if all == 1 {
		return "the node could not be untainted"
	}
	return fmt.Sprintf("%d of %d nodes could not be untainted", failed, all)
}

// untaintNode takes a taint from a node, and tells whether it had it.
func untaintNode(ctx context.Context, c client.Client, name, key string) (bool, error) {
	var node corev1.Node
	if err := c.Get(ctx, client.ObjectKey{Name: name}, &node); err != nil {
		return false, err
	}
	return untaint.Node(ctx, c, &node, key)
}
