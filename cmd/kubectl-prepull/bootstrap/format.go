// Package bootstrap prints images as what has them pulled: manifests for a cluster, or scripts for its nodes.
package bootstrap

import (
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/cli"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// defaultNoopImage is the one that the chart installs.
const defaultNoopImage = "ghcr.io/kube-prepull/kube-prepull-noop:1"

// maxParallel is how many images a script may pull at a time. More only share the same bandwidth and disk.
const maxParallel = 64

// Output is how images are printed.
type Output struct {
	// Namespace is that of the DaemonSets; empty leaves it to whoever applies them.
	Namespace string

	format    string
	noopImage string
	parallel  int
}

// render is the text of images in one format, and notes for a person.
type render func(images []workload.Image, o *Output) (text string, notes []string, err error)

var formats = map[string]render{
	"list":               list,
	"daemonset":          daemonSets,
	"prepullimages":      prepullImages,
	"bash-ctr":           bashCtr,
	"bash-crictl":        bashCrictl,
	"eks-user-data":      eksUserData,
	"cloud-init":         cloudInit,
	"aks-prepared-image": aks,
	"gke-boot-disk":      gke,
}

// AddFlags gives a command the flags that choose a format and set it up.
func (o *Output) AddFlags(c *cobra.Command) {
	names := slices.Sorted(maps.Keys(formats))
	c.Flags().StringVar(&o.format, "format", "list", "what to print: "+strings.Join(names, ", "))
	c.Flags().StringVar(&o.noopImage, "noop-image", defaultNoopImage, "image that the pods of a daemonset run noop from")
	c.Flags().IntVar(&o.parallel, "parallel", 4, "how many images a script pulls at a time")
	_ = c.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(names, cobra.ShellCompDirectiveNoFileComp))
}

// Check returns an error of the command line if the flags are wrong.
func (o *Output) Check() error {
	if formats[o.format] == nil {
		return cli.Usagef("--format must be one of %s, not %q", strings.Join(slices.Sorted(maps.Keys(formats)), ", "), o.format)
	}
	if o.parallel < 1 || o.parallel > maxParallel {
		return cli.Usagef("--parallel must be from 1 to %d, not %d", maxParallel, o.parallel)
	}
	if o.Namespace != "" && len(validation.IsDNS1123Label(o.Namespace)) > 0 {
		return cli.Usagef("--namespace %q is no name of a namespace", o.Namespace)
	}
	if err := workload.ValidImage(o.noopImage); err != nil {
		return cli.Usagef("--noop-image %q: %v", o.noopImage, err)
	}
	return nil
}

// Write prints images, and notes.
func (o *Output) Write(env *cli.Environment, images []workload.Image, notes []string) error {
	text, more, err := formats[o.format](images, o)
	for _, note := range append(slices.Clone(notes), more...) {
		env.Note(note)
	}
	if err != nil {
		return err
	}
	_, err = io.WriteString(env.Out, text)
	return err
}

// list is one image a line, in order.
func list(images []workload.Image, _ *Output) (string, []string, error) {
	var b strings.Builder
	for _, image := range images {
		b.WriteString(image.Name + "\n")
	}
	return b.String(), nil, nil
}
