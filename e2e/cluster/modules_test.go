package cluster

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/modfile"
)

// modules are the go.mod files of the checkout. Each compiles what the others do, so that one that has another version of
// something compiles that, and all that uses it, again.
var modules = []string{"go.mod", "e2e/go.mod", "e2e/cluster/go.mod", "e2e/certmanager/go.mod", "deploy/release/go.mod"}

// oldest is the one that has nothing in common with them: an old Kubernetes, with the versions that it was released with.
const oldest = "e2e/cluster/oldest/go.mod"

// TestEveryModuleIsKnown finds go.mod files that nobody compares.
func TestEveryModuleIsKnown(t *testing.T) {
	t.Parallel()
	known := append(slices.Clone(modules), oldest)
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (entry.Name() == "bin" || entry.Name() == ".git") {
			return filepath.SkipDir
		}
		name, err := filepath.Rel(root, path)
		if entry.Name() == "go.mod" && !slices.Contains(known, filepath.ToSlash(name)) {
			t.Errorf("%s is not among the modules", name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestTheOldestKubernetesIsTheOneOfTheChart: what the chart lets install is what is tested.
func TestTheOldestKubernetesIsTheOneOfTheChart(t *testing.T) {
	t.Parallel()
	mod := parseModule(t, oldest)
	chart, err := os.ReadFile(filepath.Join("..", "..", "deploy", "chart", "Chart.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	minor, _, _ := strings.Cut(strings.TrimPrefix(kubernetesVersion(mod), "v1."), ".")
	if want := fmt.Sprintf("kubeVersion: \">=1.%s.0-0\"\n", minor); !strings.Contains(string(chart), want) {
		t.Errorf("Kubernetes is %s in %s, and Chart.yaml does not have %q", kubernetesVersion(mod), oldest, want)
	}
	staging := "v0." + strings.TrimPrefix(kubernetesVersion(mod), "v1.")
	for _, r := range mod.Replace {
		if r.New.Version != staging {
			t.Errorf("%s is %s, want %s", r.Old.Path, r.New.Version, staging)
		}
	}
	for _, program := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kubelet", "kube-proxy"} {
		if !slices.ContainsFunc(mod.Tool, func(tool *modfile.Tool) bool { return filepath.Base(tool.Path) == program }) {
			t.Errorf("%s is not among the tools of %s", program, oldest)
		}
	}
}

func parseModule(t *testing.T, name string) *modfile.File {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("..", "..", name))
	if err != nil {
		t.Fatal(err)
	}
	mod, err := modfile.Parse(name, content, nil)
	if err != nil {
		t.Fatal(err)
	}
	return mod
}

func TestModulesHaveTheSameVersions(t *testing.T) {
	t.Parallel()
	files := map[string]*modfile.File{}
	for _, name := range modules {
		files[name] = parseModule(t, name)
	}
	for _, difference := range differences(files) {
		t.Error(difference)
	}
}

func TestDifferencesOfModules(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		a, b string
		want []string
	}{
		"the same versions": {
			"go 1.26.0\nrequire x.org/a v1.0.0", "go 1.26.6\nrequire x.org/a v1.0.0 // indirect", nil,
		},
		"a version that is replaced": {
			"go 1.26\nrequire x.org/a v0.0.0\nreplace x.org/a => x.org/a v1.0.0", "go 1.26\nrequire x.org/a v1.0.0", nil,
		},
		"a folder instead of a version": {
			"go 1.26\nrequire x.org/a v0.0.0\nreplace x.org/a => ./a", "go 1.26\nrequire x.org/a v1.0.0", nil,
		},
		"modules that only one of them has": {
			"go 1.26\nrequire x.org/a v1.0.0", "go 1.26\nrequire x.org/b v1.0.0", nil,
		},
		"two versions": {
			"go 1.26\nrequire x.org/a v1.0.0", "go 1.26\nrequire x.org/a v1.1.0",
			[]string{"x.org/a is v1.0.0 in a, v1.1.0 in b: run go get x.org/a@VERSION, and go mod tidy, where it is not the newest"},
		},
		"two languages": {
			"go 1.26.0", "go 1.27.0", []string{"go is 1.26 in a, 1.27 in b: run go get go@VERSION, and go mod tidy, where it is not the newest"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := map[string]*modfile.File{}
			for file, content := range map[string]string{"a": test.a, "b": test.b} {
				parsed, err := modfile.Parse(file, []byte(content), nil)
				if err != nil {
					t.Fatal(err)
				}
				files[file] = parsed
			}
			if got := differences(files); !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// differences names each module that has several versions, and where.
func differences(files map[string]*modfile.File) []string {
	found := map[string]map[string][]string{} // module, version, files
	for _, file := range slices.Sorted(maps.Keys(files)) {
		for module, version := range versions(files[file]) {
			if found[module] == nil {
				found[module] = map[string][]string{}
			}
			found[module][version] = append(found[module][version], file)
		}
	}
	var said []string
	for _, module := range slices.Sorted(maps.Keys(found)) {
		if len(found[module]) < 2 {
			continue
		}
		var where []string
		for _, version := range slices.Sorted(maps.Keys(found[module])) {
			where = append(where, version+" in "+strings.Join(found[module][version], " and "))
		}
		said = append(said, fmt.Sprintf("%[1]s is %[2]s: run go get %[1]s@VERSION, and go mod tidy, where it is not the newest", module, strings.Join(where, ", ")))
	}
	return said
}

// versions are what a module is compiled with. Of Go only the language counts: 1.26 for 1.26.6.
func versions(file *modfile.File) map[string]string {
	major, rest, _ := strings.Cut(file.Go.Version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	all := map[string]string{"go": major + "." + minor}
	for _, r := range file.Require {
		all[r.Mod.Path] = r.Mod.Version
	}
	for _, r := range file.Replace {
		if _, required := all[r.Old.Path]; !required {
			continue
		}
		if all[r.Old.Path] = r.New.Version; r.New.Version == "" {
			delete(all, r.Old.Path) // a folder
		}
	}
	return all
}
