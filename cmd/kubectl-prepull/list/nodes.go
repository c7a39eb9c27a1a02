package list

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/cli"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/inventory"
)

// Nodes is kubectl prepull nodes.
func Nodes(env *cli.Environment) *cobra.Command {
	var output cli.Output
	c := &cobra.Command{
		Use:     "nodes",
		Aliases: []string{"node"},
		Short:   "List the nodes, how many images of their list they have, and what holds them up",
		Example: `  kubectl prepull nodes
  kubectl prepull nodes -o jsonpath='{.nodes[?(@.state=="Failing")].name}'
  kubectl prepull nodes -o json | jq -r '.nodes[] | select(.state != "Complete") | .name'`,
		Args:              cli.NoArguments,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, _ []string) error {
			return listNodes(c.Context(), env, &output)
		},
	}
	output.AddListFlag(c, "nodes", "node")
	return c
}

// nodeList is what nodes -o json prints.
type nodeList struct {
	Nodes []inventory.Node `json:"nodes"`
}

func listNodes(ctx context.Context, env *cli.Environment, output *cli.Output) error {
	c, err := env.Installed()
	if err != nil {
		return err
	}
	fleet, err := inventory.ReadFleet(ctx, c, env.Home)
	if err != nil {
		return err
	}
	nodes := fleet.Nodes()
	return output.Print(env.Out, nodeList{nodes}, func() error {
		return nodeTable(nodes, output.Wide()).Write(env.Out, env.Colours())
	})
}

func nodeTable(nodes []inventory.Node, wide bool) *cli.Table {
	columns := []string{"NODE", "STATE", "IMAGES", "CLASS", "MESSAGE"}
	if wide {
		columns = []string{"NODE", "STATE", "IMAGES", "BYTES", "PULLS", "CLASS", "MESSAGE"}
	}
	table := cli.NewTable(columns...)
	for i := range nodes {
		n := &nodes[i]
		images := ""
		if n.Class != "" {
			images = fmt.Sprintf("%d/%d", n.ReadyCount, n.ImageCount)
		}
		row := []any{n.Name, NodeState(n.State), images, n.Class, n.Message}
		if wide {
			bytes, took := sums(n)
			row = []any{n.Name, NodeState(n.State), images, v1alpha1.HumanSize(bytes), took, n.Class, n.Message}
		}
		table.Row(row...)
	}
	return table
}

// sums are the sizes of the images of a node, as far as it reports them, and what its prepull pod waited for them.
func sums(n *inventory.Node) (bytes int64, took string) {
	seconds := 0.0
	for i := range n.Images {
		bytes += n.Images[i].SizeBytes
		seconds += n.Images[i].Seconds
	}
	if seconds > 0 {
		took = cli.Seconds(seconds)
	}
	return bytes, took
}

// NodeState is the state of a node in its colour.
func NodeState(s inventory.NodeState) cli.Text {
	switch s {
	case inventory.NodeComplete:
		return cli.Good(string(s))
	case inventory.NodePulling:
		return cli.Busy(string(s))
	case inventory.NodeFailing:
		return cli.Bad(string(s))
	}
	return cli.Plain(string(s))
}
