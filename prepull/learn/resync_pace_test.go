package learn

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/kube-prepull/kube-prepull/api/clock"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
)

func TestResyncPace(t *testing.T) {
	t.Parallel()
	failed := errors.New("reading namespace shop")
	for name, test := range map[string]struct {
		interval time.Duration
		ended    []error
		since    time.Duration // since the last one ended
		want     time.Duration
	}{
		"the first one":                          {interval: 10 * time.Minute},
		"just after one":                         {10 * time.Minute, []error{nil}, 0, 10 * time.Second},
		"a while after one":                      {10 * time.Minute, []error{nil}, 7 * time.Second, 3 * time.Second},
		"long after one":                         {10 * time.Minute, []error{nil}, time.Hour, 0},
		"after one failure":                      {10 * time.Minute, []error{failed}, 0, 10 * time.Second},
		"after three":                            {10 * time.Minute, []error{failed, failed, failed}, 0, 40 * time.Second},
		"after more than the interval has room":  {10 * time.Minute, []error{failed, failed, failed, failed, failed, failed, failed}, time.Minute, 9 * time.Minute},
		"a success ends the row":                 {10 * time.Minute, []error{failed, failed, nil}, 0, 10 * time.Second},
		"a failure after a success":              {10 * time.Minute, []error{failed, failed, nil, failed}, 0, 10 * time.Second},
		"an interval that is shorter":            {2 * time.Second, []error{nil}, 0, 2 * time.Second},
		"an interval that is shorter, a failure": {2 * time.Second, []error{failed}, 0, 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := resyncPace{pause: clock.Production().ResyncPause, interval: test.interval}
			for _, err := range test.ended {
				p = p.after(err, prepulltest.Noon)
			}
			if got := p.wait(prepulltest.Noon.Add(test.since)); got != test.want {
				t.Errorf("wait = %v, want %v", got, test.want)
			}
		})
	}
}

// FuzzResyncPace checks that failures never shorten a wait, and that no wait is longer than the interval.
func FuzzResyncPace(f *testing.F) {
	f.Add(int64(10*time.Minute), 3)
	f.Add(int64(math.MaxInt64), math.MaxInt)
	f.Fuzz(func(t *testing.T, interval int64, failures int) {
		interval, failures = interval&math.MaxInt64, failures&math.MaxInt
		p := resyncPace{pause: clock.Production().ResyncPause, interval: time.Duration(interval), ended: prepulltest.Noon, failures: failures}
		wait := p.wait(prepulltest.Noon)
		if wait > p.interval || wait < min(p.pause, p.interval) {
			t.Errorf("wait = %v", wait)
		}
		if again := p.after(errors.New("reading"), prepulltest.Noon).wait(prepulltest.Noon); failures < math.MaxInt && again < wait {
			t.Errorf("one more failure waits %v instead of %v", again, wait)
		}
	})
}
