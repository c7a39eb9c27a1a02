package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/cli"
)

// newCommand is the plugin with all of its commands.
func newCommand(env *cli.Environment) *cobra.Command {
	root := &cobra.Command{
		Use:   "prepull",
		Short: "See, measure and export what kube-prepull has on the nodes",
		Annotations: map[string]string{
			cobra.CommandDisplayNameAnnotation: "kubectl prepull",
		},
	}
	root.SetIn(env.In)
	root.SetOut(env.Out)
	root.SetErr(env.ErrOut)
	env.Kube.AddFlags(root.PersistentFlags())
	root.AddCommand(newVersionCommand(env))
	return root
}

func newVersionCommand(env *cli.Environment) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of the plugin",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(env.Out, version)
			return err
		},
	}
}
