package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/kube-prepull/kube-prepull/e2e/cluster/gocommand"
	"github.com/kube-prepull/kube-prepull/e2e/lab"
)

// A package of which nothing was heard for so long hangs: tests wait for places in the pool less, also on a busy machine.
const silence = time.Hour

// testPackage is a package whose tests need clusters.
type testPackage struct {
	name  string
	tests int
}

// clusterTests runs all packages at once: their tests wait for each other at the pool.
func (s *suite) clusterTests(ctx context.Context) (err error) {
	names, err := s.clusterPackages(ctx)
	if err != nil || len(names) == 0 {
		return err
	}
	if !hasNodes() {
		fmt.Fprintln(s.out, "SKIPPED: tests on real nodes: they need root on Linux")
	}
	packages, err := s.countTests(ctx, names)
	if err != nil {
		return err
	}
	converter, err := exec.CommandContext(ctx, "go", "tool", "-n", "test2json").Output()
	if err != nil {
		return fmt.Errorf("building test2json: %w", err)
	}
	if err := os.MkdirAll(testOutput(), 0o755); err != nil {
		return err
	}
	pool, err := lab.NewPool()
	if err != nil {
		return err
	}
	defer func() {
		fmt.Fprintln(s.out, "  taking the clusters down")
		err = errors.Join(err, pool.Close())
	}()
	s.runAll(ctx, pool, strings.TrimSpace(string(converter)), packages)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	incomplete := s.incomplete()
	if incomplete == "" && anyFailed(s.results.done) {
		incomplete = "tests failed"
	}
	if err := pool.CheckPrivileges(s.out, incomplete); err != nil {
		s.results.fail("permissions", err.Error())
	}
	return nil
}

func (s *suite) runAll(ctx context.Context, pool *lab.Pool, converter string, packages []testPackage) {
	all, running := 0, sync.WaitGroup{}
	var ended atomic.Int64
	for _, p := range packages {
		all += p.tests
		running.Go(func() {
			if err := s.runPackage(ctx, pool, converter, p, &ended); err != nil {
				s.results.fail(p.name, err.Error())
			}
		})
	}
	defer every(15*time.Second, func() { fmt.Fprintln(s.out, s.results.running(int(ended.Load()), all, "tests", time.Now())) })()
	running.Wait()
}

// runPackage returns an error if a package failed and none of its tests did.
func (s *suite) runPackage(ctx context.Context, pool *lab.Pool, converter string, p testPackage, ended *atomic.Int64) error {
	log, err := os.Create(filepath.Join(testOutput(), p.name+".log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := s.testCommand(p.name, "-test.v=test2json", "-test.paniconexit0", "-test.timeout=0", "-test.run="+s.pattern,
		fmt.Sprint("-test.parallel=", 4*runtime.GOMAXPROCS(0)))
	cmd.Env = append(cmd.Env, pool.Env()...)
	convert := exec.Command(converter, "-t", "-p", p.name)
	said, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	cmd.Stderr = cmd.Stdout
	convert.Stdin = said
	events, err := convert.StdoutPipe()
	if err != nil {
		return err
	}
	if err := convert.Start(); err != nil {
		return fmt.Errorf("starting test2json: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return errors.Join(fmt.Errorf("starting the tests: %w", err), convert.Process.Kill(), convert.Wait())
	}
	heard := watch(ctx, cmd.Process, convert.Process)
	failed := false
	err = readEvents(events, func(e event) {
		heard.now()
		log.WriteString(e.Output) //nolint:errcheck // for people; the results have what counts
		for _, r := range s.results.take(e, time.Now()) {
			ended.Add(1)
			failed = failed || r.outcome == "fail"
			fmt.Fprintln(s.out, line(r))
		}
	})
	ran := cmd.Wait()
	heard.stop()
	if failed {
		ran = nil
	}
	return errors.Join(err, ran, convert.Wait())
}

func (s *suite) testCommand(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(testPrograms(), filepath.Base(name)+".test"), args...)
	cmd.Dir = lab.Source(filepath.Join("e2e", name))
	cmd.Env = gocommand.Env()
	return cmd
}

// countTests counts the tests of packages, and puts those with most first.
func (s *suite) countTests(ctx context.Context, names []string) ([]testPackage, error) {
	pattern, _, _ := strings.Cut(s.pattern, "/")
	if pattern == "" {
		pattern = "."
	}
	var packages []testPackage
	for _, name := range names {
		output, err := s.testCommand(name, "-test.list="+pattern).Output()
		if err != nil || ctx.Err() != nil {
			return nil, errors.Join(fmt.Errorf("listing the tests of %s: %w", name, err), ctx.Err())
		}
		p := testPackage{name: name}
		for line := range strings.Lines(string(output)) {
			if strings.HasPrefix(line, "Test") {
				p.tests++
			}
		}
		if p.tests > 0 {
			packages = append(packages, p)
		}
	}
	slices.SortStableFunc(packages, func(a, b testPackage) int { return cmp.Compare(b.tests, a.tests) })
	return packages, nil
}

func testOutput() string { return lab.Source(filepath.Join("bin", "test-output")) }

// watcher ends tests, and who reads what they say, when they say nothing for too long or nobody waits for them any more.
type watcher struct {
	last atomic.Int64
	stop func()
}

func watch(ctx context.Context, tests, reader *os.Process) *watcher {
	w := &watcher{}
	w.now()
	asked := false
	w.stop = every(time.Second, func() {
		quiet := time.Since(time.Unix(0, w.last.Load()))
		switch {
		case ctx.Err() != nil, asked && quiet > time.Minute:
			_, _ = tests.Kill(), reader.Kill() // they may have ended
		case quiet > silence && !asked:
			asked = true
			_ = tests.Signal(syscall.SIGQUIT) // they say where they hang
		}
	})
	return w
}

func (w *watcher) now() { w.last.Store(time.Now().UnixNano()) }
