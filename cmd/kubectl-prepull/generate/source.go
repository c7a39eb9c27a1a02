package generate

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// stdin is the name of what is piped in, in messages.
const stdin = "standard input"

// extensions of the files in a folder that are manifests.
var extensions = []string{".yaml", ".yml", ".json"}

// ReadPath reads a file, all manifests in a folder and the folders in it, or what is piped in for "-". In a folder, what is
// no Kubernetes object is left out, with a note.
func ReadPath(path string, in io.Reader) (documents []Document, notes []string, err error) {
	if path == "-" {
		documents, err = ReadDocuments(stdin, in)
		return documents, nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil, fmt.Errorf("reading manifests: %w", err)
	}
	if !info.IsDir() {
		documents, err = readFile(path)
		return documents, nil, err
	}
	err = filepath.WalkDir(path, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("reading manifests: %w", err)
		}
		if file != path && strings.HasPrefix(entry.Name(), ".") {
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if entry.IsDir() || !slices.Contains(extensions, strings.ToLower(filepath.Ext(file))) {
			return nil
		}
		more, err := readFile(file)
		if err != nil {
			return err
		}
		for _, d := range more {
			if kind, _ := d.Object["kind"].(string); kind == "" {
				notes = append(notes, d.Where()+" is left out: it has no kind, so it is no Kubernetes object")
				continue
			}
			documents = append(documents, d)
		}
		return nil
	})
	if err == nil && len(documents) == 0 {
		err = fmt.Errorf("there is no manifest in %s: no file that ends in %s has a Kubernetes object", path, strings.Join(extensions, ", "))
	}
	return documents, notes, err
}

func readFile(path string) ([]Document, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading manifests: %w", err)
	}
	defer file.Close()
	return ReadDocuments(path, file)
}

// Build renders a kustomization, as kubectl kustomize does.
func Build(dir string) ([]Document, error) {
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		return nil, fmt.Errorf("building the kustomization: %w", err)
	}
	text, err := built.AsYaml()
	if err != nil {
		return nil, fmt.Errorf("building the kustomization: %w", err)
	}
	return ReadDocuments("kustomization "+dir, strings.NewReader(string(text)))
}
