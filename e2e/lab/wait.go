package lab

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// hangs is after how long something that has not happened never will. It promises nothing: a busy machine needs its time.
const hangs = 4 * time.Minute

// Eventually asks until there is no error. If it hangs, the test fails with the last one.
func Eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	for deadline := time.Now().Add(hangs); ; {
		start := time.Now()
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited %s for %s: %v", hangs, what, err)
		}
		// Looking must not be what keeps the machine busy.
		time.Sleep(max(150*time.Millisecond, 9*time.Since(start)))
	}
}

// Stopwatch tells how long something took, less the time in which the machine had something to run and no processor for
// it. What kube-prepull promises is held against that: it has no say in what else a machine does.
type Stopwatch struct {
	start   time.Time
	stalled time.Duration
}

// StartStopwatch starts one.
func StartStopwatch() Stopwatch { return Stopwatch{time.Now(), stalled()} }

// Elapsed is the time since the start that was not stalled.
func (s Stopwatch) Elapsed() time.Duration {
	return max(0, time.Since(s.start)-(stalled()-s.stalled)).Round(time.Millisecond)
}

// Stalled is what Elapsed leaves out.
func (s Stopwatch) Stalled() time.Duration { return max(0, stalled()-s.stalled) }

// Within holds a promise against the test.
func (s Stopwatch) Within(t *testing.T, promise time.Duration, what string) {
	t.Helper()
	elapsed, real := s.Elapsed(), time.Since(s.start).Round(time.Millisecond)
	t.Logf("%s took %s, %s of it while the machine was not busy with other things", what, real, elapsed)
	if elapsed > promise {
		t.Errorf("%s took %s, want %s at most", what, elapsed, promise)
	}
}

// stalled is for how long, since the machine started, at least one task waited for a processor: the total of "some" in
// /proc/pressure/cpu (Documentation/accounting/psi.rst in Linux). Where the kernel does not count, it is none.
func stalled() time.Duration {
	content, err := os.ReadFile("/proc/pressure/cpu")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(content), "\n")
	_, total, _ := strings.Cut(line, "total=")
	microseconds, err := strconv.ParseInt(total, 10, 64)
	if err != nil {
		return 0
	}
	return time.Duration(microseconds) * time.Microsecond
}
