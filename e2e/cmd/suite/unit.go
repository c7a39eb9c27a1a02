package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/kube-prepull/kube-prepull/e2e/cluster/gocommand"
	"github.com/kube-prepull/kube-prepull/e2e/lab"
)

// unitTests runs the tests that need no cluster, with the helm of the clusters.
func (s *suite) unitTests(ctx context.Context) error {
	if !s.wants(unit) {
		return nil
	}
	if !hasNodes() {
		fmt.Fprintln(s.out, "SKIPPED: the build of the Dockerfile: it needs root on Linux")
	}
	for _, module := range modules {
		if err := s.unitTestsOf(ctx, module); err != nil {
			return fmt.Errorf("module %s: %w", module, err)
		}
	}
	return nil
}

func (s *suite) unitTestsOf(ctx context.Context, module string) error {
	packages, err := unitPackages(ctx, module)
	if err != nil {
		return err
	}
	args := slices.Concat([]string{"test", "-json", "-timeout=30m", "-run=" + s.pattern}, s.flavour(), packages)
	if module == "deploy/release" {
		args = append(args, "-count=1") // it runs make: Go's cache does not see of what
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	cmd.Dir = lab.Source(module)
	cmd.Env = append(append(gocommand.Env(), s.flavourEnv()...), "HELM="+filepath.Join(s.programs, "helm"))
	cmd.Stderr = os.Stderr
	events, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	var ended atomic.Int64
	stop := every(10*time.Second, func() {
		fmt.Fprintln(s.out, s.results.running(int(ended.Load()), len(packages), "packages of module "+module, time.Now()))
	})
	failed := false
	err = readEvents(events, func(e event) {
		for _, r := range s.results.take(e, time.Now()) {
			if r.outcome == "fail" {
				failed = true
				fmt.Fprintln(s.out, line(r))
			}
		}
		if e.Test == "" && e.Package != "" && slices.Contains([]string{"pass", "fail", "skip"}, e.Action) {
			ended.Add(1)
			fmt.Fprintf(s.out, "%-4s  %s  %.1fs\n", e.Action, shortName(e.Package), e.Elapsed)
		}
	})
	stop()
	ran := cmd.Wait()
	if failed && ctx.Err() == nil {
		ran = nil // a result says so
	}
	return errors.Join(err, ran, ctx.Err())
}
