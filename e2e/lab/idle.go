package lab

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

const (
	// idleTime is how long the processors have to have been idle before one more cluster than there are of them begins. A
	// cluster that has begun shows what it takes in that time.
	idleTime = 5 * time.Second

	// enoughIdle is the part of their time that they then had nothing to do.
	enoughIdle = 0.4
)

// idleness is what is known of how busy the processors were.
type idleness struct{ samples []sample }

type sample struct {
	at   time.Time
	idle time.Duration // of all processors together, since the machine started
}

// enough takes a sample in, and is true if the processors were idle enough in the last idleTime.
func (i *idleness) enough(now sample, processors int) bool {
	i.samples = append(i.samples, now)
	for len(i.samples) > 1 && now.at.Sub(i.samples[1].at) >= idleTime {
		i.samples = i.samples[1:]
	}
	first := i.samples[0]
	passed := now.at.Sub(first.at)
	return passed >= idleTime && float64(now.idle-first.idle) >= enoughIdle*float64(processors)*float64(passed)
}

// measureIdle is a sample of now. Where the system does not tell, processors never were idle.
func measureIdle() sample {
	content, _ := os.ReadFile("/proc/stat")
	return sample{time.Now(), idleOf(string(content))}
}

// idleOf reads how long processors had nothing to do, in hundredths of a second, from /proc/stat.
func idleOf(stat string) time.Duration {
	first, _, _ := strings.Cut(stat, "\n")
	fields := strings.Fields(first)
	if len(fields) < 5 || fields[0] != "cpu" {
		return 0
	}
	ticks, _ := strconv.ParseInt(fields[4], 10, 64)
	return time.Duration(ticks) * 10 * time.Millisecond
}

func processors() int { return runtime.GOMAXPROCS(0) }
