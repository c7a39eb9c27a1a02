// Package explain is the command kubectl prepull explain: why an image is on a node or not, and what that cost.
package explain

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/cli"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/complete"
)

// Command is kubectl prepull explain.
func Command(env *cli.Environment) *cobra.Command {
	var output cli.Output
	c := &cobra.Command{
		Use:   "explain IMAGE | pod/NAME | node/NAME",
		Short: "Explain why an image is on the nodes or not, and what its last starts cost",
		Long: `Explain why an image is on the nodes or not, where it is missing, and what its last starts cost; for a pod, whether each
of its containers found its image and why not; for a node, its list of images and how far it is.

IMAGE is the image as pods write it, the name of a PrepullImage, or a part of the image that is in no other.`,
		Example: `  kubectl prepull explain registry.example.com/shop/api:v2
  kubectl prepull explain shop/api
  kubectl prepull explain pod/api-7d9f8b6c4-x2x7k -n shop
  kubectl prepull explain node/node-7`,
		Args:              oneSubject,
		ValidArgsFunction: complete.Subjects(env),
		RunE: func(c *cobra.Command, arguments []string) error {
			return run(c.Context(), env, &output, arguments[0])
		},
	}
	output.AddFlag(c)
	return c
}

// oneSubject is the argument: what is to be explained.
func oneSubject(_ *cobra.Command, arguments []string) error {
	if len(arguments) != 1 {
		return cli.Usagef("name one image, pod/NAME or node/NAME, and not %d", len(arguments))
	}
	return nil
}

// question is what somebody asks of a cluster.
type question struct {
	client client.Client
	home   string
	now    time.Time
}

// answer is what can be printed.
type answer interface {
	write(p *page)
}

func run(ctx context.Context, env *cli.Environment, output *cli.Output, argument string) error {
	kind, name, named := strings.Cut(argument, "/")
	asked := ""
	if named {
		asked = map[string]string{"pod": "pod", "pods": "pod", "po": "pod", "node": "node", "nodes": "node", "no": "node"}[kind]
	}
	if argument == "" || asked != "" && name == "" {
		return cli.Usagef("name an image, pod/NAME or node/NAME")
	}
	namespace, _, err := env.Kube.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return err
	}
	c, err := env.Installed()
	if err != nil {
		return err
	}
	q := question{c, env.Home, time.Now()}
	var found answer
	switch asked {
	case "pod":
		found, err = q.pod(ctx, namespace, name)
	case "node":
		found, err = q.node(ctx, name)
	default:
		found, err = q.image(ctx, argument)
	}
	if err != nil {
		return err
	}
	return output.Print(env.Out, found, func() error {
		p := &page{colours: env.Colours(), wide: output.Wide(), now: q.now}
		found.write(p)
		_, err := env.Out.Write([]byte(p.out.String()))
		return err
	})
}
