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

It reads ImageCaches of kube-fledged, and ImagePullJobs, ImageListPullJobs and the AdvancedCronJobs that
make those of OpenKruise. Everything that has no equivalent, and what cannot be read, has a line on the
error stream. Most images need not be taken over: kube-prepull learns those that pods use.`,
		Example: `  kubectl get imagecaches -A -o yaml | kubectl prepull import -f - | kubectl apply -f -`,
		Args:    generate.FilesByFlag,
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

// read converts what is in files. What cannot be read has a note, unless it is all that there is.
func read(files []string, env *cli.Environment) (text string, notes []string, err error) {
	var origins []*origin
	var problems []error
	for _, file := range files {
		in, err := generate.ReadPath(file, env.In)
		if err != nil {
			return "", notes, err
		}
		notes, problems = append(notes, in.Notes...), append(problems, in.Problems...)
		for _, d := range in.Documents {
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
	text, more, err := print(origins)
	switch notes = append(notes, more...); {
	case err != nil:
		return "", notes, err
	case text == "" && len(problems) > 0:
		return "", notes, errors.Join(problems...)
	case text == "":
		return "", notes, errors.New("there is nothing in the input: no object of kube-fledged or OpenKruise that says what to pull")
	}
	for _, problem := range problems {
		notes = append(notes, problem.Error())
	}
	return text, notes, nil
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
