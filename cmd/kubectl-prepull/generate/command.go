package generate

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/bootstrap"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/cli"
)

// source is where manifests come from: one of these.
type source struct {
	files     []string
	kustomize string
	values    string
}

// Command is kubectl prepull generate.
func Command(env *cli.Environment) *cobra.Command {
	var from source
	var output bootstrap.Output
	c := &cobra.Command{
		Use:   "generate (-f FILE | -k DIR | --helm-values FILE)",
		Short: "Print what pulls the images of manifests beforehand",
		Long: `Print what pulls the images of manifests beforehand: a list, manifests, or a script for nodes.

It needs no cluster, and no kube-prepull but for the format prepullimages. The images are those of
init containers, containers and image volumes of whatever has a pod template. Pod templates with the
label kube-prepull.io/enabled: "false" are left out. A values file of Helm only tells what a chart
may use; what it does use is in the output of helm template.`,
		Example: `  helm template shop ./chart | kubectl prepull generate -f - --format daemonset | kubectl apply -f -
  kubectl prepull generate -k overlays/production --format eks-user-data > user-data.txt
  kubectl prepull generate -f manifests/ --format prepullimages | kubectl apply -f -`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := from.check(); err != nil {
				return err
			}
			output.Namespace = *env.Kube.Namespace
			if err := output.Check(); err != nil {
				return err
			}
			found, err := from.read(env)
			if err != nil {
				return err
			}
			return output.Write(env, found.Images, found.Notes)
		},
	}
	c.Flags().StringSliceVarP(&from.files, "filename", "f", nil, "files or folders with manifests; - reads what is piped in")
	c.Flags().StringVarP(&from.kustomize, "kustomize", "k", "", "folder with a kustomization")
	c.Flags().StringVar(&from.values, "helm-values", "", "values file of a Helm chart; - reads what is piped in")
	output.AddFlags(c)
	return c
}

func (s source) check() error {
	given := 0
	for _, set := range []bool{len(s.files) > 0, s.kustomize != "", s.values != ""} {
		if set {
			given++
		}
	}
	if given != 1 {
		return cli.Usagef("say where the images come from, with one of -f, -k and --helm-values")
	}
	return nil
}

func (s source) read(env *cli.Environment) (*Found, error) {
	var documents []Document
	var notes []string
	switch {
	case s.values == "-":
		return ReadValues(stdin, env.In)
	case s.values != "":
		file, err := os.Open(s.values)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		return ReadValues(s.values, file)
	case s.kustomize != "":
		built, err := Build(s.kustomize)
		if err != nil {
			return nil, err
		}
		documents = built
	default:
		for _, path := range s.files {
			more, about, err := ReadPath(path, env.In)
			if err != nil {
				return nil, err
			}
			documents, notes = append(documents, more...), append(notes, about...)
		}
	}
	found, err := Read(documents, *env.Kube.Namespace)
	if err != nil {
		return nil, err
	}
	found.Notes = append(notes, found.Notes...)
	return found, nil
}
