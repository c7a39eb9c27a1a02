package generate

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/cli"
)

// Source is where manifests come from: one of these.
type Source struct {
	// Files are files and folders with manifests; "-" is what is piped in.
	Files []string

	// Kustomize is a folder with a kustomization.
	Kustomize string

	// Values are values files of a Helm chart, of which the later replace the earlier.
	Values []string
}

// AddFlags adds those flags that kubectl has, too.
func (s *Source) AddFlags(flags *pflag.FlagSet) {
	flags.StringSliceVarP(&s.Files, "filename", "f", nil, "files or folders with manifests; - reads what is piped in")
	flags.StringVarP(&s.Kustomize, "kustomize", "k", "", "folder with a kustomization")
}

// check returns an error of the command line unless there is one source.
func (s *Source) check() error {
	given := 0
	for _, set := range []bool{len(s.Files) > 0, s.Kustomize != "", len(s.Values) > 0} {
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
func (s *Source) String() string {
	from := slices.Concat(s.Files, s.Values)
	if s.Kustomize != "" {
		from = append(from, s.Kustomize)
	}
	for i := range from {
		if from[i] == "-" {
			from[i] = stdin
		}
	}
	return strings.Join(from, ", ")
}

// Read finds the images; in is what is piped in, and namespace that of objects without one.
func (s *Source) Read(in io.Reader, namespace string) (*Found, error) {
	if len(s.Values) > 0 {
		return ReadValues(s.Values, in)
	}
	var all Input
	if s.Kustomize != "" {
		built, err := Build(s.Kustomize)
		if err != nil {
			return nil, err
		}
		all = built
	}
	for _, path := range s.Files {
		more, err := ReadPath(path, in)
		if err != nil {
			return nil, err
		}
		all.add(more)
	}
	found := Read(all.Documents, namespace)
	found.Notes, found.Problems = append(all.Notes, found.Notes...), append(all.Problems, found.Problems...)
	return found, nil
}

// stdin is the name of what is piped in, in messages.
const stdin = "standard input"

// extensions of the files in a folder that are manifests.
var extensions = []string{".yaml", ".yml", ".json"}

// IsFileName tells whether a name is that of a file with manifests, which no image is called by.
func IsFileName(name string) bool {
	return slices.Contains(extensions, strings.ToLower(filepath.Ext(name)))
}

// FilesByFlag are the arguments of a command that reads files: none, since files have a flag.
func FilesByFlag(_ *cobra.Command, arguments []string) error {
	if len(arguments) > 0 {
		return cli.Usagef("%q is given without a flag: files and folders are named with -f, as in -f %s", arguments[0], arguments[0])
	}
	return nil
}

// ReadPath reads a file, all manifests in a folder and the folders in it, or what is piped in for "-". In a folder, a file that
// cannot be read is a problem, and the others are read.
func ReadPath(path string, in io.Reader) (Input, error) {
	if path == "-" {
		return ReadDocuments(stdin, in)
	}
	if strings.HasPrefix(path, "https://") || strings.HasPrefix(path, "http://") {
		return Input{}, fmt.Errorf("%s is not fetched: pipe it in, curl -fsSL %s | kubectl prepull generate -f -", path, path)
	}
	info, err := os.Stat(path)
	if err != nil {
		return Input{}, fmt.Errorf("reading manifests: %w", err)
	}
	if !info.IsDir() {
		return readFile(path)
	}
	return readFolder(path)
}

// readFolder reads the files of a folder and of those in it. As with kubectl, links to files count and links to folders do not.
func readFolder(path string) (Input, error) {
	var in Input
	root := strings.TrimSuffix(path, string(filepath.Separator)) + string(filepath.Separator) // a folder that is a link is read itself
	err := filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			in.Problems = append(in.Problems, fmt.Errorf("reading manifests: %w", err))
			return nil
		}
		if file != root && strings.HasPrefix(entry.Name(), ".") {
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if entry.IsDir() {
			return nil
		}
		if target, err := os.Stat(file); err == nil && target.IsDir() {
			in.Notes = append(in.Notes, file+" is left out: it is a link to a folder")
			return nil
		}
		if !slices.Contains(extensions, strings.ToLower(filepath.Ext(file))) {
			return nil
		}
		more, err := readFile(file)
		if err != nil {
			more.Problems = append(more.Problems, err)
		}
		in.add(more)
		return nil
	})
	if err == nil && len(in.Documents)+len(in.Problems) == 0 {
		err = fmt.Errorf("there is no manifest in %s: no file that ends in %s has a Kubernetes object", path, strings.Join(extensions, ", "))
	}
	return in, err
}

func readFile(path string) (Input, error) {
	file, err := os.Open(path)
	if err != nil {
		return Input{}, fmt.Errorf("reading manifests: %w", err)
	}
	defer file.Close()
	return ReadDocuments(path, file)
}

// Build renders a kustomization, as kubectl kustomize does.
func Build(dir string) (Input, error) {
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		return Input{}, fmt.Errorf("building the kustomization: %w", err)
	}
	text, err := built.AsYaml()
	if err != nil {
		return Input{}, fmt.Errorf("building the kustomization: %w", err)
	}
	return ReadDocuments("kustomization "+dir, strings.NewReader(string(text)))
}
