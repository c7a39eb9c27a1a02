// Package measure tells what a start costs when its image has to be pulled, and when it is there: from what happened in the
// cluster, and by experiment.
package measure

import (
	"github.com/spf13/cobra"

	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/cli"
)

// Command is measure with its commands.
func Command(env *cli.Environment) *cobra.Command {
	c := &cobra.Command{
		Use:   "measure",
		Short: "Measure starts with and without the image on the node",
		Example: `  kubectl prepull measure history -n shop
  kubectl prepull measure run registry.example.com/shop:v2`,
	}
	c.AddCommand(newHistoryCommand(env), newRunCommand(env))
	return c
}
