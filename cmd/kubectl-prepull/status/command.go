package status

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/cli"
)

// Command is kubectl prepull status.
func Command(env *cli.Environment) *cobra.Command {
	var output cli.Output
	var follow bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Show how images and nodes stand, and what is wrong, on one screen",
		Long: `Show on one screen what is wrong, how many images are ready and how many nodes are warm, and how many containers of
the last hour found their image on the node.`,
		Example: `  kubectl prepull status
  kubectl prepull status --watch
  kubectl prepull status -o json | jq .images.failing`,
		Args:              cli.NoArguments,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, _ []string) error {
			return run(c.Context(), env, &output, follow)
		},
	}
	output.AddFlag(c)
	c.Flags().BoolVarP(&follow, "watch", "w", false, "keep showing it until interrupted; where the output is no terminal, each time that it changes")
	return c
}

func run(ctx context.Context, env *cli.Environment, output *cli.Output, follow bool) error {
	c, err := env.Installed()
	if err != nil {
		return err
	}
	s := &source{client: c, home: env.Home}
	now := time.Now()
	first, err := s.read(ctx, now)
	if follow && ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	write := func(s Status, now time.Time) error {
		return output.Print(env.Out, s, func() error { return s.write(env.Out, env.Colours(), now) })
	}
	if !follow {
		return write(first, now)
	}
	show := whenChanged(env, output, write)
	if env.Terminal() && output.ForPeople() {
		show = func(s Status, now time.Time) error { return redraw(env, s, now) }
	}
	return watch(ctx, s.read, first, time.Since(now), show, env.ErrOut)
}
