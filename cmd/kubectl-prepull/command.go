package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/cli"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/explain"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/export"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/generate"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/importer"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/list"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/measure"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/status"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/ungate"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/uninstall"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/wait"
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
	// Its scripts are for a program called prepull; kubectl asks for completions in another way.
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetIn(env.In)
	root.SetOut(env.Out)
	root.SetErr(env.ErrOut)
	env.AddFlags(root.PersistentFlags())
	root.AddCommand(status.Command(env), list.Images(env), list.Nodes(env), explain.Command(env), measure.Command(env), wait.Command(env))
	root.AddCommand(generate.Command(env), export.Command(env), importer.Command(env), ungate.Command(env), uninstall.Command(env))
	root.AddCommand(newVersionCommand(env))
	return root
}

func newVersionCommand(env *cli.Environment) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of the plugin",
		Args:  cli.NoArguments,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(env.Out, version)
			return err
		},
	}
}
