package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kube-prepull/kube-prepull/e2e/cluster/gocommand"
	"github.com/kube-prepull/kube-prepull/e2e/lab"
)

// modules are the folders of the Go modules with unit tests.
var modules = []string{".", "e2e", "e2e/cluster", "deploy/release"}

// compile compiles all that this run will need, so that no test waits for a compiler.
func (s *suite) compile(ctx context.Context) error {
	if s.wants(unit) {
		if err := s.compileUnits(ctx); err != nil {
			return err
		}
	}
	packages, err := s.clusterPackages(ctx)
	if err != nil || len(packages) == 0 {
		return err
	}
	if err := lab.Compile(ctx, s.out); err != nil {
		return err
	}
	fmt.Fprintln(s.out, "Compiling the tests on clusters")
	if err := gocommand.Run(ctx, lab.Source("e2e"), s.out, 0, slices.Concat([]string{"list", "-v", "-export", "-test", "-f", ""}, folders(packages), []string{"./cmd/..."})); err != nil {
		return err
	}
	if err := os.MkdirAll(testPrograms(), 0o755); err != nil {
		return err
	}
	if err := gocommand.Run(ctx, lab.Source("e2e"), s.out, 0, append([]string{"test", "-c", "-ldflags=-s -w", "-o", testPrograms() + "/"}, folders(packages)...)); err != nil {
		return err
	}
	if !slices.Contains(packages, "certs") {
		return nil
	}
	_, err = lab.BuildCertManager(ctx, s.out)
	return err
}

// compileUnits compiles the unit tests, and what they build themselves: the images for another platform.
func (s *suite) compileUnits(ctx context.Context) error {
	for _, module := range modules {
		fmt.Fprintln(s.out, "Compiling the unit tests of module", module)
		packages, err := unitPackages(ctx, module)
		if err != nil {
			return err
		}
		args := slices.Concat([]string{"list", "-v", "-export", "-test", "-f", ""}, s.flavour(), packages)
		if err := gocommand.Run(ctx, lab.Source(module), s.out, 0, args, s.flavourEnv()...); err != nil {
			return err
		}
	}
	if !hasNodes() {
		return nil // nor root, who alone builds the Dockerfile
	}
	for _, arch := range []string{"amd64", "arm64"} {
		fmt.Fprintln(s.out, "Compiling the images for", arch)
		err := gocommand.Run(ctx, lab.Source("."), s.out, 0, []string{"list", "-v", "-export", "-f", "", "./cmd/kube-prepull", "./cmd/noop"}, "GOOS=linux", "GOARCH="+arch)
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *suite) flavour() []string {
	if s.race {
		return []string{"-race"}
	}
	return nil
}

func (s *suite) flavourEnv() []string {
	if s.race {
		return []string{"CGO_ENABLED=1"}
	}
	return nil
}

// clusterPackages are the names of the packages of e2e that this run wants and whose tests need clusters.
func (s *suite) clusterPackages(ctx context.Context) ([]string, error) {
	all, err := testPackages(ctx, "e2e")
	if err != nil {
		return nil, err
	}
	var names []string
	for path, needsCluster := range all {
		if _, name, _ := strings.Cut(path, "/e2e/"); needsCluster && s.wants(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// unitPackages are the packages of a module that have tests which need no cluster.
func unitPackages(ctx context.Context, module string) ([]string, error) {
	all, err := testPackages(ctx, module)
	if err != nil {
		return nil, err
	}
	var paths []string
	for path, needsCluster := range all {
		if !needsCluster {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	return paths, nil
}

// testPackages are the packages of a module that have tests, and whether these need a cluster: they use the lab then.
func testPackages(ctx context.Context, module string) (map[string]bool, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-f", `{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}} {{join .TestImports " "}} {{join .XTestImports " "}}{{end}}`, "./...")
	cmd.Dir, cmd.Env, cmd.Stderr = lab.Source(module), gocommand.Env(), os.Stderr
	output, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("listing the packages of %s: %w", module, err)
	}
	packages := map[string]bool{}
	for line := range strings.Lines(string(output)) {
		fields := strings.Fields(line)
		packages[fields[0]] = slices.ContainsFunc(fields[1:], func(path string) bool { return strings.HasSuffix(path, "/e2e/lab") })
	}
	return packages, nil
}

// testPrograms is the folder of the compiled tests.
func testPrograms() string { return lab.Source(filepath.Join("bin", "tests")) }

func folders(packages []string) []string {
	var paths []string
	for _, name := range packages {
		paths = append(paths, "./"+name)
	}
	return paths
}
