// Package importer takes over what other tools were told to pull.
package importer

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/bootstrap"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/cli"
	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/generate"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// Command is kubectl prepull import.
func Command(env *cli.Environment) *cobra.Command {
	var files []string
	c := &cobra.Command{
		Use:   "import -f FILE",
		Short: "Print PrepullImages for what kube-fledged or OpenKruise was told to pull",
		Long: `Print PrepullImages for what kube-fledged or OpenKruise was told to pull.

It reads ImageCaches of kube-fledged (v1alpha2, v1alpha3), and ImagePullJobs and ImageListPullJobs of
OpenKruise. Everything that has no equivalent has a line on the error stream. Most images need not be
taken over: kube-prepull learns those that pods use.`,
		Example: `  kubectl get imagecaches -A -o yaml | kubectl prepull import -f - | kubectl apply -f -`,
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if len(files) == 0 {
				return cli.Usagef("say what to read, with -f")
			}
			text, notes, err := read(files, env)
			for _, note := range notes {
				env.Note(note)
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(env.Out, text)
			return err
		},
	}
	c.Flags().StringSliceVarP(&files, "filename", "f", nil, "files or folders with objects of the other tool; - reads what is piped in")
	return c
}

// read converts what is in files. If anything in them cannot be converted, nothing is.
func read(files []string, env *cli.Environment) (text string, notes []string, err error) {
	var origins []*origin
	var problems []error
	for _, file := range files {
		documents, more, err := generate.ReadPath(file, env.In)
		if err != nil {
			return "", notes, err
		}
		notes = append(notes, more...)
		for _, d := range documents {
			for _, object := range generate.Flatten(d.Object) {
				o, err := convert(object, d.Where(), *env.Kube.Namespace)
				if err != nil {
					problems = append(problems, err)
					continue
				}
				origins, notes = append(origins, o), append(notes, o.notes...)
			}
		}
	}
	if len(problems) > 0 {
		return "", nil, errors.Join(problems...)
	}
	if len(origins) == 0 {
		return "", notes, errors.New("there is nothing in the input: no object of kube-fledged or OpenKruise")
	}
	text, more, err := print(origins)
	return text, append(notes, more...), err
}

// print writes PrepullImages, and above each where it comes from.
func print(origins []*origin) (text string, notes []string, err error) {
	var images []workload.Image
	from := map[string][]string{}
	for _, o := range origins {
		for _, image := range o.images {
			images = append(images, image)
			if !slices.Contains(from[image.Name], o.name) {
				from[image.Name] = append(from[image.Name], o.name)
			}
		}
	}
	var b strings.Builder
	for _, image := range workload.MergeImages(images) {
		objects, more := bootstrap.Declare(image)
		notes = append(notes, more...)
		text, err := bootstrap.Documents(objects)
		if err != nil {
			return "", nil, err
		}
		if b.Len() > 0 {
			b.WriteString("---\n")
		}
		fmt.Fprintf(&b, "# was: %s\n%s", strings.Join(from[image.Name], ", "), text)
	}
	return b.String(), notes, nil
}
