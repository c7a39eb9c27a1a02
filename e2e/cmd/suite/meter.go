package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// step is what a part of a run took.
type step struct {
	name     string
	took     time.Duration
	children time.Duration // processor time of the processes that it started and waited for, compilers for one
	machine  time.Duration // of all processes: clusters are nobody's children
}

func (s step) String() string {
	return fmt.Sprintf("%s, processor time %s, of the whole machine %s", seconds(s.took), seconds(s.children), seconds(s.machine))
}

// meter is where the clocks stood when a step began.
type meter struct {
	start             time.Time
	children, machine time.Duration
}

func startMeter() meter { return meter{time.Now(), childrenTime(), machineTime()} }

func (m meter) step(name string) step {
	return step{name, time.Since(m.start), childrenTime() - m.children, machineTime() - m.machine}
}

func childrenTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_CHILDREN, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// machineTime is zero where the system does not tell.
func machineTime() time.Duration {
	content, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	return busy(string(content))
}

// busy reads how long processors have worked, from /proc/stat: what they spent in user programs (nice or not), the system,
// and interrupts, in hundredths of a second.
func busy(stat string) time.Duration {
	first, _, _ := strings.Cut(stat, "\n")
	fields := strings.Fields(first)
	if len(fields) < 8 || fields[0] != "cpu" {
		return 0
	}
	var ticks int64
	for _, i := range []int{1, 2, 3, 6, 7} {
		n, _ := strconv.ParseInt(fields[i], 10, 64)
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}
