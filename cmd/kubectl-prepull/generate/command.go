package generate

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/bootstrap"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/cli"
)

// Command is kubectl prepull generate.
func Command(env *cli.Environment) *cobra.Command {
	var from Source
	var strict bool
	var output bootstrap.Output
	c := &cobra.Command{
		Use:   "generate (-f FILE | -k DIR | --helm-values FILE)",
		Short: "Print what pulls the images of manifests beforehand",
		Long: `Print what pulls the images of manifests beforehand: a list, manifests, or a script for nodes.

It needs no cluster, and no kube-prepull but for the format prepullimages. The images are those of
init containers, containers and image volumes of every pod spec, in whatever kind of object it is. Pod
templates with the label kube-prepull.io/enabled: "false" are left out. What cannot be read or used is
named in a note, and the rest is printed. A values file of Helm only tells what a chart may use; what it
does use is in the output of helm template.`,
		Example: `  helm template shop ./chart | kubectl prepull generate -f - --format daemonset | kubectl apply -f -
  kubectl prepull generate -k overlays/production --format eks-user-data > user-data.txt
  kubectl prepull generate -f manifests/ --format prepullimages | kubectl apply -f -`,
		Args: FilesByFlag,
		RunE: func(*cobra.Command, []string) error {
			if err := from.check(); err != nil {
				return err
			}
			output.Namespace = *env.Kube.Namespace
			if err := output.Check(); err != nil {
				return err
			}
			found, err := from.Read(env.In, *env.Kube.Namespace)
			if err != nil {
				return err
			}
			if strict && len(found.Problems) > 0 {
				return errors.Join(found.Problems...)
			}
			if err := found.Nothing(from.String()); err != nil {
				for _, note := range found.Notes {
					env.Note(note)
				}
				return err
			}
			for _, problem := range found.Problems {
				found.Notes = append(found.Notes, problem.Error())
			}
			return output.Write(env, found.Images, found.Notes)
		},
	}
	from.AddFlags(c.Flags())
	c.Flags().StringSliceVar(&from.Values, "helm-values", nil, "values files of a Helm chart, of which the later replace the earlier; - reads what is piped in")
	c.Flags().BoolVar(&strict, "strict", false, "fail if anything in the input cannot be read or used")
	output.AddFlags(c)
	return c
}
