package measure

import (
	"github.com/spf13/cobra"

	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/cli"
)

func newHistoryCommand(env *cli.Environment) *cobra.Command { return &cobra.Command{Use: "history"} }
