package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// slowest is how many tests the report names.
const slowest = 25

// line says how a test ended, as it happens.
func line(r result) string {
	words := map[string]string{"pass": "ok", "fail": "FAIL", "skip": "SKIP"}
	text := fmt.Sprintf("%-4s  %s  %s", words[r.outcome], r.name(), seconds(r.worked()))
	if r.waited > 0 {
		text += fmt.Sprintf("  (and waited %s for a cluster)", seconds(r.waited))
	}
	if _, why, said := strings.Cut(r.output, "SKIPPED: "); said && r.outcome == "skip" {
		why, _, _ = strings.Cut(why, "\n")
		text += "  " + why
	}
	return text
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1fs", d.Seconds()) }

func anyFailed(done []result) bool {
	return slices.ContainsFunc(done, func(r result) bool { return r.outcome == "fail" })
}

// summary is the last line of a run.
func summary(done []result) string {
	count := map[string]int{}
	for _, r := range done {
		count[r.outcome]++
	}
	return fmt.Sprintf("%d passed, %d failed, %d skipped", count["pass"], count["fail"], count["skip"])
}

func writeFailures(w io.Writer, done []result) {
	for _, r := range done {
		if r.outcome == "fail" {
			fmt.Fprintf(w, "\n== FAIL: %s\n%s", r.name(), r.output)
		}
	}
}

// saidByTest is a line of a test's output that tells where in the test it was said.
var saidByTest = regexp.MustCompile(`(?m)^\s+(\w+_test\.go:\d+: .*)$`)

// writeReasons says again in a line each why tests failed: the last thing that each said itself. What is printed of clusters is long.
func writeReasons(w io.Writer, done []result) {
	for _, r := range done {
		if r.outcome != "fail" {
			continue
		}
		reason := ""
		if said := saidByTest.FindAllStringSubmatch(r.output, -1); len(said) > 0 {
			reason = said[len(said)-1][1]
		}
		fmt.Fprintf(w, "FAIL  %s  %s\n", r.name(), reason)
	}
}

// writeSlowest writes how long the slowest tests took, and each package's together, without what they waited for a cluster.
func writeSlowest(w io.Writer, done []result) {
	tests := slices.SortedStableFunc(slices.Values(done), func(a, b result) int { return cmp.Compare(b.worked(), a.worked()) })
	packages := map[string]time.Duration{}
	for _, r := range done {
		packages[r.pkg] += r.worked()
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\nTHE SLOWEST TESTS\tTOOK\tWAITED FOR A CLUSTER\tPROCESSOR TIME OF ITS CLUSTER")
	for _, r := range tests[:min(slowest, len(tests))] {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", r.name(), seconds(r.worked()), seconds(r.waited), seconds(r.burnt))
	}
	fmt.Fprintln(table, "\nPACKAGE\tITS TESTS TOGETHER")
	byTime := func(a, b string) int { return cmp.Or(cmp.Compare(packages[b], packages[a]), cmp.Compare(a, b)) }
	for _, name := range slices.SortedFunc(maps.Keys(packages), byTime) {
		if packages[name] >= time.Second {
			fmt.Fprintf(table, "%s\t%s\n", name, seconds(packages[name]))
		}
	}
	table.Flush() //nolint:errcheck // as for every line of a report
}

func writeSteps(w io.Writer, steps []step) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\nSTEP\tTOOK\tPROCESSOR TIME\tOF THE WHOLE MACHINE")
	for _, s := range steps {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", s.name, seconds(s.took), seconds(s.children), seconds(s.machine))
	}
	table.Flush() //nolint:errcheck // as for every line of a report
	fmt.Fprintln(w)
}
