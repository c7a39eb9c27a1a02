package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const project = "github.com/kube-prepull/kube-prepull/"

func TestResultsOfEvents(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		events []event
		want   []result
	}{
		"a test that passes, what it waited for, and what its cluster took": {
			[]event{
				{Action: "run", Package: "pin", Test: "TestA"},
				{Action: "output", Package: "pin", Test: "TestA", Output: "    lease.go:1: waited for a cluster: 4.5s\n"},
				{Action: "output", Package: "pin", Test: "TestA", Output: "    burnt.go:1: processor time of the cluster: 1m2s\n"},
				{Action: "pass", Package: "pin", Test: "TestA", Elapsed: 10},
				{Action: "pass", Package: "pin"},
			},
			[]result{{pkg: "pin", test: "TestA", outcome: "pass", took: 10 * time.Second, waited: 4500 * time.Millisecond, burnt: 62 * time.Second,
				output: "    lease.go:1: waited for a cluster: 4.5s\n    burnt.go:1: processor time of the cluster: 1m2s\n"}},
		},
		"a part of a test counts with it": {
			[]event{
				{Action: "run", Package: "pin", Test: "TestA"},
				{Action: "run", Package: "pin", Test: "TestA/part"},
				{Action: "output", Package: "pin", Test: "TestA/part", Output: "wrong\n"},
				{Action: "fail", Package: "pin", Test: "TestA/part", Elapsed: 1},
				{Action: "fail", Package: "pin", Test: "TestA", Elapsed: 2},
				{Action: "fail", Package: "pin"},
			},
			[]result{{pkg: "pin", test: "TestA", outcome: "fail", took: 2 * time.Second, output: "wrong\n"}},
		},
		"a skipped test, in a package of the project": {
			[]event{{Action: "skip", Package: project + "prepull", Test: "TestA"}, {Action: "pass", Package: project + "prepull"}},
			[]result{{pkg: "prepull", test: "TestA", outcome: "skip"}},
		},
		"a package without tests": {
			[]event{{Action: "skip", Package: "api"}}, nil,
		},
		"a package that does not compile": {
			[]event{
				{Action: "build-output", ImportPath: project + "api [" + project + "api.test]", Output: "a.go:1: syntax error\n"},
				{Action: "build-fail", ImportPath: project + "api [" + project + "api.test]"},
				{Action: "fail", Package: project + "api"},
			},
			[]result{{pkg: "api", outcome: "fail", output: "a.go:1: syntax error\n"}},
		},
		"a package that dies in the middle of a test": {
			[]event{
				{Action: "run", Package: "pin", Test: "TestA"},
				{Action: "output", Package: "pin", Test: "TestA", Output: "SIGQUIT\n"},
				{Action: "fail", Package: "pin"},
			},
			[]result{{pkg: "pin", test: "TestA", outcome: "fail", output: "SIGQUIT\n"}},
		},
		"a package that fails after all its tests have passed": {
			[]event{
				{Action: "run", Package: "pin", Test: "TestA"},
				{Action: "pass", Package: "pin", Test: "TestA"},
				{Action: "output", Package: "pin", Output: "refused\n"},
				{Action: "fail", Package: "pin"},
			},
			[]result{{pkg: "pin", test: "TestA", outcome: "pass"}, {pkg: "pin", outcome: "fail", output: "refused\n"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newResults()
			for _, e := range test.events {
				r.take(e, time.Time{})
			}
			if diff := cmp.Diff(test.want, r.done, cmp.AllowUnexported(result{}), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("results (-want +got):\n%s", diff)
			}
			if len(r.begun) > 0 {
				t.Errorf("%v has not ended", r.begun)
			}
		})
	}
}

func TestRunningNamesTheTestsWhoseTurnItIs(t *testing.T) {
	t.Parallel()
	start := time.Unix(0, 0)
	r := newResults()
	for _, e := range []event{
		{Action: "run", Package: "pin", Test: "TestA"},
		{Action: "pause", Package: "pin", Test: "TestA"},
		{Action: "run", Package: "pin", Test: "TestB"},
		{Action: "pause", Package: "pin", Test: "TestB"},
		{Action: "output", Package: "pin", Output: "of the package\n"},
	} {
		r.take(e, start)
	}
	r.take(event{Action: "cont", Package: "pin", Test: "TestB"}, start.Add(20*time.Second))
	r.take(event{Action: "cont", Package: "pin", Test: "TestA"}, start.Add(10*time.Second))
	want := "  1 of 9 tests done, running: pin TestA 34s, pin TestB 24s"
	if got := r.running(1, 9, "tests", start.Add(44*time.Second)); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, test := range []string{"TestC", "TestD", "TestE", "TestF", "TestG"} {
		r.take(event{Action: "run", Package: "pin", Test: test}, start.Add(40*time.Second))
	}
	want += ", pin TestC 4s, pin TestD 4s, pin TestE 4s, 2 more"
	if got := r.running(1, 9, "tests", start.Add(44*time.Second)); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestALineThatIsNoEventIsOutput(t *testing.T) {
	t.Parallel()
	var got []event
	err := readEvents(strings.NewReader(`{"Action":"pass","Package":"pin","Test":"TestA","Elapsed":1.5}`+"\ngo: oops"), func(e event) { got = append(got, e) })
	if err != nil {
		t.Fatal(err)
	}
	want := []event{{Action: "pass", Package: "pin", Test: "TestA", Elapsed: 1.5}, {Action: "output", Output: "go: oops"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}
