package lab

import (
	"testing"
	"time"
)

func TestIdleEnoughForOneMoreCluster(t *testing.T) {
	t.Parallel()
	start := time.Now()
	// Each is a second after the one before, on two processors, and says for how long of that they were idle, together.
	for name, test := range map[string]struct {
		idle []time.Duration
		want bool
	}{
		"nobody knows yet":          {[]time.Duration{2 * time.Second, 2 * time.Second}, false},
		"idle all the time":         {[]time.Duration{2 * time.Second, 2 * time.Second, 2 * time.Second, 2 * time.Second, 2 * time.Second}, true},
		"just enough":               {[]time.Duration{0, 0, 0, 2 * time.Second, 2 * time.Second}, true},
		"a little less":             {[]time.Duration{0, 0, 0, 2 * time.Second, 1900 * time.Millisecond}, false},
		"busy, and idle before":     {[]time.Duration{2 * time.Second, 2 * time.Second, 0, 0, 0, 0, 0}, false},
		"busy before, and idle now": {[]time.Duration{0, 0, 0, 0, 0, 0, 2 * time.Second, 2 * time.Second}, true},
		"the system does not tell":  {[]time.Duration{0, 0, 0, 0, 0, 0}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var i idleness
			now := sample{at: start}
			got := i.enough(now, 2)
			for _, idle := range test.idle {
				now = sample{now.at.Add(time.Second), now.idle + idle}
				got = i.enough(now, 2)
			}
			if got != test.want {
				t.Errorf("it is %v, want %v", got, test.want)
			}
		})
	}
}

func TestIdleTimeOfStat(t *testing.T) {
	t.Parallel()
	for stat, want := range map[string]time.Duration{
		"cpu  10 0 5 250 3 0 0 0 0 0\ncpu0 1 2 3 4": 2500 * time.Millisecond,
		"cpu  10 0":      0,
		"intr 1 2 3 4 5": 0,
		"":               0,
	} {
		if got := idleOf(stat); got != want {
			t.Errorf("%q says %s, want %s", stat, got, want)
		}
	}
}
