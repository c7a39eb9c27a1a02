package prepull_test

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/kube-prepull/kube-prepull/"

// rooms are the packages whose imports of each other are bounded, and what each may import. Who is pure has no client, no
// context, no metrics and no clock: time is an argument.
var rooms = map[string]struct {
	pure bool
	may  []string
}{
	"api/admission":        {},
	"api/clock":            {},
	"api/scc":              {},
	"api/fair":             {pure: true},
	"api/pages":            {may: []string{"api/places"}},
	"api/places":           {},
	"api/v1alpha1":         {pure: true},
	"prepull/pulled":       {pure: true},
	"prepull/pullsecret":   {pure: true},
	"prepull/workload":     {pure: true, may: []string{"api/v1alpha1"}},
	"prepull/nodeclass":    {pure: true, may: []string{"api/v1alpha1", "prepull/workload"}},
	"prepull/warmth":       {pure: true, may: []string{"api/v1alpha1", "prepull/pullsecret", "prepull/workload"}},
	"prepull/plan":         {pure: true, may: []string{"api/clock", "api/v1alpha1", "prepull/nodeclass", "prepull/warmth", "prepull/workload"}},
	"prepull/learn":        {may: []string{"api/", "prepull/workload"}},
	"prepull/credentials":  {may: []string{"api/clock", "api/v1alpha1", "prepull/plan", "prepull/pullsecret", "prepull/workload"}},
	"prepull/untaint":      {may: []string{"prepull/plan"}},
	"prepull/uninstall":    {may: []string{"api/v1alpha1", "prepull/plan", "prepull/untaint"}},
	"prepull":              {may: []string{"api/", "prepull/"}},
	"webhook/pins":         {pure: true, may: []string{"api/v1alpha1", "prepull/workload"}},
	"webhook/memory":       {},
	"webhook/digest":       {may: []string{"api/places", "prepull/pullsecret", "webhook/memory"}},
	"webhook/audit":        {may: []string{"api/", "prepull/workload", "prepull/warmth", "webhook/pins"}},
	"webhook":              {may: []string{"api/", "prepull/workload", "prepull/pullsecret", "webhook/"}},
	"certs":                {may: []string{"api/"}},
	"cmd/noop":             {},
	"cmd/kube-prepull":     {may: []string{"api/", "certs", "prepull", "prepull/learn", "prepull/plan", "prepull/uninstall", "webhook", "webhook/digest"}},
	"cmd/kubectl-prepull/": {may: []string{"api/", "cmd/kubectl-prepull/", "prepull/nodeclass", "prepull/plan", "prepull/pulled", "prepull/uninstall", "prepull/untaint", "prepull/warmth", "prepull/workload"}},
}

// impure are the packages that no pure room links, and unclean those that it does not import itself.
var (
	impure  = []string{"k8s.io/client-go/", "sigs.k8s.io/controller-runtime", "github.com/prometheus/"}
	unclean = []string{"context", "net/http", "os"}
)

// clocks are the functions of package time that say what time it is, or wait.
var clocks = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTicker", "NewTimer"}

type listed struct {
	ImportPath, Dir string
	GoFiles         []string
	Imports, Deps   []string
}

// roomOf is the longest name that a package has or begins with.
func roomOf(path string) string {
	best := ""
	for name := range rooms {
		if (path == name || strings.HasSuffix(name, "/") && strings.HasPrefix(path+"/", name)) && len(name) > len(best) {
			best = name
		}
	}
	return best
}

func allowed(path string, may []string) bool {
	return slices.ContainsFunc(may, func(name string) bool {
		return path == name || strings.HasSuffix(name, "/") && strings.HasPrefix(path, name)
	})
}

// TestRooms holds the walls: imports run one way, and what is pure is checked and not promised.
func TestRooms(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		path := strings.TrimPrefix(p.ImportPath, module)
		name := roomOf(path)
		for _, imported := range p.Imports {
			other, ours := strings.CutPrefix(imported, module)
			if !ours {
				continue
			}
			if strings.HasPrefix(other, "cmd/") && !strings.HasPrefix(path, "cmd/") {
				t.Errorf("%s imports %s: nothing imports a program", path, other)
			}
			if strings.HasSuffix(other, "test") && !strings.HasSuffix(path, "test") {
				t.Errorf("%s imports %s, which is for tests", path, other)
			}
			if name != "" && !allowed(other, rooms[name].may) {
				t.Errorf("%s imports %s, and may import %v alone", path, other, rooms[name].may)
			}
		}
		if rooms[name].pure {
			checkPure(t, p)
		}
	}
}

func checkPure(t *testing.T, p listed) {
	t.Helper()
	for _, linked := range p.Deps {
		if slices.ContainsFunc(impure, func(name string) bool { return strings.HasPrefix(linked, name) }) {
			t.Errorf("%s is pure, and links %s", p.ImportPath, linked)
		}
	}
	for _, imported := range p.Imports {
		if slices.Contains(unclean, imported) {
			t.Errorf("%s is pure, and imports %s", p.ImportPath, imported)
		}
	}
	for _, file := range p.GoFiles {
		parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, file), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			s, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if of, ok := s.X.(*ast.Ident); ok && of.Name == "time" && slices.Contains(clocks, s.Sel.Name) {
				t.Errorf("%s is pure, and asks time.%s in %s", p.ImportPath, s.Sel.Name, file)
			}
			return true
		})
	}
}

func packages(t *testing.T) []listed {
	t.Helper()
	// What go list reads the test has to look at too, or go test would take an earlier result for that of now.
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".go" {
			_, err = os.Stat(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,GoFiles,Imports,Deps", module+"...")
	output, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	found := map[string]bool{}
	for decoder := json.NewDecoder(strings.NewReader(string(output))); ; {
		var p listed
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
		found[roomOf(strings.TrimPrefix(p.ImportPath, module))] = true
	}
	for name := range rooms {
		if !found[name] {
			t.Errorf("there is no package %s", name)
		}
	}
	return all
}
