package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var done = []result{
	{pkg: "pin", test: "TestQuick", outcome: "pass", took: 9 * time.Second, waited: 8 * time.Second, burnt: 3 * time.Second},
	{pkg: "pin", test: "TestSlow", outcome: "fail", took: 5 * time.Second, output: "    pin_test.go:7: begun\n    pin_test.go:9: wrong\n    lease.go:3: of the cluster\n"},
	{pkg: "learn", test: "TestAway", outcome: "skip", output: "    a_test.go:1: SKIPPED: it needs more\n--- SKIP\n"},
	{pkg: "learn", test: "TestLong", outcome: "pass", took: 7 * time.Second},
}

func TestLines(t *testing.T) {
	t.Parallel()
	var got []string
	for _, r := range append(done, result{pkg: "learn", outcome: "fail"}) {
		got = append(got, line(r))
	}
	want := []string{
		"ok    pin TestQuick  1.0s  (and waited 8.0s for a cluster)",
		"FAIL  pin TestSlow  5.0s",
		"SKIP  learn TestAway  0.0s  it needs more",
		"ok    learn TestLong  7.0s",
		"FAIL  learn  0.0s",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

func TestReport(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	writeFailures(&text, done)
	writeSlowest(&text, done)
	writeSteps(&text, []step{{"compiling", 2 * time.Minute, 90 * time.Second, 100 * time.Second}})
	writeReasons(&text, done)
	text.WriteString(summary(done))
	want := `
== FAIL: pin TestSlow
    pin_test.go:7: begun
    pin_test.go:9: wrong
    lease.go:3: of the cluster

THE SLOWEST TESTS  TOOK  WAITED FOR A CLUSTER  PROCESSOR TIME OF ITS CLUSTER
learn TestLong     7.0s  0.0s                  0.0s
pin TestSlow       5.0s  0.0s                  0.0s
pin TestQuick      1.0s  8.0s                  3.0s
learn TestAway     0.0s  0.0s                  0.0s

PACKAGE  ITS TESTS TOGETHER
learn    7.0s
pin      6.0s

STEP       TOOK    PROCESSOR TIME  OF THE WHOLE MACHINE
compiling  120.0s  90.0s           100.0s

FAIL  pin TestSlow  pin_test.go:9: wrong
2 passed, 1 failed, 1 skipped`
	if diff := cmp.Diff(want, text.String()); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
}

func TestBusy(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		stat string
		want time.Duration
	}{
		"all but idle, waiting for disks, and what others took": {"cpu  100 20 30 9999 888 4 6 777 0 0\ncpu0 1 2 3\n", 1600 * time.Millisecond},
		"nothing to read": {"", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := busy(test.stat); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}
