package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kube-prepull/kube-prepull/e2e/lab"
)

// event is a line of "go test -json", or of "go tool test2json".
type event struct {
	Action, Package, ImportPath, Test, Output string
	Elapsed                                   float64
}

// result is how a test ended that is no part of another one.
type result struct {
	pkg     string
	test    string // empty: the package itself
	outcome string // pass, fail or skip
	took    time.Duration
	waited  time.Duration // of that, for a cluster
	burnt   time.Duration // processor time of its clusters
	output  string
}

func (r result) name() string { return strings.TrimSpace(r.pkg + " " + r.test) }

// worked is how long a test was at it.
func (r result) worked() time.Duration { return max(0, r.took-r.waited) }

// attempt is a test that has begun.
type attempt struct {
	since  time.Time // since when it runs; zero: it waits for its turn
	waited time.Duration
	burnt  time.Duration
	output strings.Builder
}

type testName struct{ pkg, test string }

// results are what events have told so far.
type results struct {
	mu    sync.Mutex
	begun map[testName]*attempt // and not ended; the test "" is the package itself
	done  []result
}

func newResults() *results { return &results{begun: map[testName]*attempt{}} }

// take takes an event in, and returns what has ended with it. A package has ended with the first event of its own that is no
// output; tests of it that have not then never will.
func (r *results) take(e event, now time.Time) []result {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.Package == "" {
		e.Package, _, _ = strings.Cut(e.ImportPath, " ")
	}
	e.Package = shortName(e.Package)
	top, sub, _ := strings.Cut(e.Test, "/")
	name := testName{e.Package, top}
	switch e.Action {
	case "run", "cont":
		if sub == "" {
			r.at(name).since = now
		}
	case "pause":
		if sub == "" {
			r.at(name).since = time.Time{}
		}
	case "output", "build-output":
		r.at(name).output.WriteString(e.Output)
		r.at(name).waited += said(e.Output, lab.Waited)
		r.at(name).burnt += said(e.Output, lab.Burnt)
	case "pass", "fail", "skip":
		switch {
		case e.Test == "":
			return r.endPackage(e)
		case sub == "":
			return []result{r.end(name, e.Action, time.Duration(e.Elapsed*float64(time.Second)))}
		}
	}
	return nil
}

func (r *results) at(name testName) *attempt {
	if r.begun[name] == nil {
		r.begun[name] = &attempt{}
	}
	return r.begun[name]
}

func (r *results) end(name testName, outcome string, took time.Duration) result {
	a := r.at(name)
	delete(r.begun, name)
	ended := result{name.pkg, name.test, outcome, took, a.waited, a.burnt, a.output.String()}
	r.done = append(r.done, ended)
	return ended
}

// endPackage is an error of the package itself only if no test of it explains that it failed.
func (r *results) endPackage(e event) []result {
	var ended []result
	for name := range r.begun {
		if name.pkg == e.Package && name.test != "" {
			ended = append(ended, r.end(name, "fail", 0))
		}
	}
	explained := slices.ContainsFunc(r.done, func(d result) bool { return d.pkg == e.Package && d.outcome == "fail" })
	if e.Action == "fail" && !explained {
		ended = append(ended, r.end(testName{pkg: e.Package}, "fail", 0))
	}
	delete(r.begun, testName{pkg: e.Package})
	return ended
}

// fail adds a failure that no event tells of.
func (r *results) fail(pkg, output string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done = append(r.done, result{pkg: pkg, outcome: "fail", output: output + "\n"})
}

// running says how far it is: how many of so many have ended, and what has been running for longest.
func (r *results) running(ended, all int, what string, now time.Time) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var names []testName
	for name, a := range r.begun {
		if name.test != "" && !a.since.IsZero() {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(a, b testName) int {
		return cmp.Or(r.begun[a].since.Compare(r.begun[b].since), cmp.Compare(a.pkg, b.pkg), cmp.Compare(a.test, b.test))
	})
	const named = 5
	var words []string
	for _, name := range names[:min(named, len(names))] {
		words = append(words, fmt.Sprintf("%s %s %.0fs", name.pkg, name.test, now.Sub(r.begun[name].since).Seconds()))
	}
	if more := len(names) - len(words); more > 0 {
		words = append(words, fmt.Sprintf("%d more", more))
	}
	return fmt.Sprintf("  %d of %d %s done, running: %s", ended, all, what, strings.Join(words, ", "))
}

// said reads how long something was that a test says after these words.
func said(output, words string) time.Duration {
	_, long, found := strings.Cut(output, words)
	if !found {
		return 0
	}
	d, _ := time.ParseDuration(strings.TrimSpace(long))
	return d
}

func shortName(pkg string) string {
	return strings.TrimPrefix(pkg, "github.com/kube-prepull/kube-prepull/")
}

// readEvents reads events to their end. A line that is none is an event's output.
func readEvents(r io.Reader, each func(event)) error {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil {
				e = event{Action: "output", Output: string(line)}
			}
			each(e)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the events of tests: %w", err)
		}
	}
}
