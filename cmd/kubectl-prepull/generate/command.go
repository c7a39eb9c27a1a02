package generate

import (
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/bootstrap"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/cli"
)

// source is where manifests come from: one of these.
type source struct {
	files     []string
	kustomize string
	values    []string
	strict    bool
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
init containers, containers and image volumes of every pod spec, in whatever kind of object it is. Pod
templates with the label kube-prepull.io/enabled: "false" are left out. What cannot be read or used is
named in a note, and the rest is printed. A values file of Helm only tells what a chart may use; what it
does use is in the output of helm template.`,
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
			if from.strict && len(found.Problems) > 0 {
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
	c.Flags().StringSliceVarP(&from.files, "filename", "f", nil, "files or folders with manifests; - reads what is piped in")
	c.Flags().StringVarP(&from.kustomize, "kustomize", "k", "", "folder with a kustomization")
	c.Flags().StringSliceVar(&from.values, "helm-values", nil, "values files of a Helm chart, of which the later replace the earlier; - reads what is piped in")
	c.Flags().BoolVar(&from.strict, "strict", false, "fail if anything in the input cannot be read or used")
	output.AddFlags(c)
	return c
}

func (s source) check() error {
	given := 0
	for _, set := range []bool{len(s.files) > 0, s.kustomize != "", len(s.values) > 0} {
		if set {
			given++
		}
	}
	if given != 1 {
		return cli.Usagef("say where the images come from, with one of -f, -k and --helm-values")
	}
	return nil
}

// String is where the images come from, for people.
func (s source) String() string {
	from := slices.Concat(s.files, s.values)
	if s.kustomize != "" {
		from = append(from, s.kustomize)
	}
	for i := range from {
		if from[i] == "-" {
			from[i] = stdin
		}
	}
	return strings.Join(from, ", ")
}

// read finds the images.
func (s source) read(env *cli.Environment) (*Found, error) {
	if len(s.values) > 0 {
		return ReadValues(s.values, env.In)
	}
	var in Input
	if s.kustomize != "" {
		built, err := Build(s.kustomize)
		if err != nil {
			return nil, err
		}
		in = built
	}
	for _, path := range s.files {
		more, err := ReadPath(path, env.In)
		if err != nil {
			return nil, err
		}
		in.add(more)
	}
	found := Read(in.Documents, *env.Kube.Namespace)
	found.Notes, found.Problems = append(in.Notes, found.Notes...), append(in.Problems, found.Problems...)
	return found, nil
}
