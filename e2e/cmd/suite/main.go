// Command suite is "make test": it compiles everything, runs the unit tests, then those on clusters, as many clusters at a
// time as there are processors, or more while these are idle, and says what it does all the time.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/kube-prepull/kube-prepull/e2e/cluster"
	"github.com/kube-prepull/kube-prepull/e2e/lab"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	passed, err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "suite:", err)
	}
	if err != nil || !passed {
		os.Exit(1)
	}
}

// unit is the name of the packages that need no cluster, all together.
const unit = "unit"

// suite is one run of the tests.
type suite struct {
	out      io.Writer
	pattern  string   // of the names of tests; empty: all
	packages []string // by their names in e2e, and unit; empty: all
	race     bool
	oldest   bool

	programs string // folder of the cluster's
	results  *results
	steps    []step
}

func run(ctx context.Context, args []string, out io.Writer) (passed bool, err error) {
	s := &suite{out: out, results: newResults()}
	flags := flag.NewFlagSet("suite", flag.ContinueOnError)
	flags.StringVar(&s.pattern, "run", "", "run only tests whose names match this regular expression")
	packages := flags.String("packages", "", "run only these packages: their names in e2e, as in learn,pin, and unit for all that need no cluster")
	flags.BoolVar(&s.race, "race", false, "run the unit tests with the race detector")
	flags.BoolVar(&s.oldest, "oldest", false, "run the tests on clusters with the oldest Kubernetes that is supported")
	if err := flags.Parse(args); err != nil {
		return false, err
	}
	if *packages != "" {
		s.packages = strings.Split(*packages, ",")
	}
	if err := s.check(); err != nil {
		return false, err
	}
	for _, part := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"the cluster's programs", s.buildPrograms},
		{"compiling", s.compile},
		{"unit tests", s.unitTests},
		{"tests on clusters", s.clusterTests},
	} {
		if err := s.step(ctx, part.name, part.do); err != nil {
			if ctx.Err() != nil {
				return false, context.Cause(ctx)
			}
			return false, fmt.Errorf("%s: %w", part.name, err)
		}
	}
	writeFailures(out, s.results.done)
	writeSlowest(out, s.results.done)
	writeSteps(out, s.steps)
	writeReasons(out, s.results.done)
	fmt.Fprintln(out, summary(s.results.done))
	return !anyFailed(s.results.done), nil
}

// check fails at once where a run would fail after a long while.
func (s *suite) check() error {
	for _, name := range s.packages {
		if _, err := os.Stat(lab.Source(filepath.Join("e2e", name))); name != unit && err != nil {
			return fmt.Errorf("there is no package e2e/%s", name)
		}
	}
	if !s.race {
		return nil
	}
	compiler, err := exec.Command("go", "env", "CC").Output()
	if err != nil {
		return fmt.Errorf("asking for the C compiler: %w", err)
	}
	if _, err := exec.LookPath(strings.TrimSpace(string(compiler))); err != nil {
		return fmt.Errorf("the race detector needs a C compiler: %w", err)
	}
	return nil
}

func (s *suite) step(ctx context.Context, name string, do func(context.Context) error) error {
	fmt.Fprintf(s.out, "\n== %s\n", name)
	start := startMeter()
	err := do(ctx)
	s.steps = append(s.steps, start.step(name))
	fmt.Fprintf(s.out, "== %s: %s\n", name, s.steps[len(s.steps)-1])
	return err
}

func (s *suite) buildPrograms(ctx context.Context) (err error) {
	if !s.oldest {
		s.programs, err = cluster.Binaries(ctx, s.out)
		return err
	}
	if s.programs, err = cluster.BinariesWith(ctx, lab.Oldest(), s.out); err != nil {
		return err
	}
	return os.Setenv(cluster.ProgramsEnv, s.programs)
}

// wants is whether a package of e2e is to run, or unit.
func (s *suite) wants(name string) bool {
	return len(s.packages) == 0 || slices.Contains(s.packages, name)
}

// incomplete is why this run does not show what all tests do; empty if it does.
func (s *suite) incomplete() string {
	switch {
	case s.pattern != "":
		return "only tests like " + s.pattern + " ran"
	case s.oldest:
		return "it was on the oldest Kubernetes"
	case len(s.packages) > 0:
		return "only " + strings.Join(s.packages, ", ") + " ran"
	case !hasNodes():
		return "there were no real nodes"
	}
	return ""
}

func hasNodes() bool { return runtime.GOOS == "linux" && os.Geteuid() == 0 }

// every calls do again and again until it is told to stop.
func every(interval time.Duration, do func()) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				do()
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}
