package learn

import "time"

// resyncPace keeps resyncs of all namespaces apart, whatever asks for them: each lists every workload and pod there is.
type resyncPace struct {
	// pause is the least time between two, and interval the usual one.
	pause, interval time.Duration
	// ended is when the last one ended, zero before the first.
	ended time.Time
	// failures is how many failed since one did not.
	failures int
}

// wait is how long the next one has to wait at now.
func (p resyncPace) wait(now time.Time) time.Duration {
	pause := min(p.pause, p.interval)
	for range p.failures - 1 {
		if pause > p.interval/2 {
			pause = p.interval
			break
		}
		pause *= 2
	}
	return max(0, pause-now.Sub(p.ended))
}

// after is the pace after one that ended at now, with or without an error.
func (p resyncPace) after(err error, now time.Time) resyncPace {
	p.ended, p.failures = now, p.failures+1
	if err == nil {
		p.failures = 0
	}
	return p
}
