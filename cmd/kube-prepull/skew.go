package main

import (
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
)

const (
	// skewTold is how far the clock may be from that of the API server before the log says so.
	skewTold = time.Minute

	// skewBorne is how far it may be for times to be trusted: retention is compared with times that other managers wrote,
	// and certificates hold from an hour before they are made.
	skewBorne = 5 * time.Minute
)

// skew watches how far this machine's clock is ahead of the API server's, by the Date of its last answer.
type skew struct {
	log   logr.Logger
	ahead atomic.Int64 // in nanoseconds
	shown prometheus.Gauge
}

// newSkew counts on the clock until the first answer, which is before anything is decided.
func newSkew(log logr.Logger, registry prometheus.Registerer) (*skew, error) {
	s := &skew{log: log, shown: prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "kube_prepull_clock_ahead_seconds",
		Help: "How far the manager's clock is ahead of that of the API server, negative if it is behind; 0 if it is right as far as an answer of the API server can tell, which has whole seconds. From 300 on either side the manager is not ready, and deletes no image because its time is over.",
	})}
	if err := registry.Register(s.shown); err != nil {
		return nil, fmt.Errorf("registering the metric of the clock: %w", err)
	}
	return s, nil
}

// ahead is the least that a clock must be ahead of the one that dated an answer, which is cut to seconds; less than 0 if it is
// behind, and 0 if it may be right. The answer was dated between the request and its arrival.
func ahead(sent, arrived, dated time.Time) time.Duration {
	if early := sent.Sub(dated.Add(time.Second)); early > 0 {
		return early
	}
	return min(0, arrived.Sub(dated))
}

// watch is a transport that reads the dates of its answers.
func (s *skew) watch(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(request *http.Request) (*http.Response, error) {
		sent := time.Now().Round(0) // times of clocks are compared, which may be set meanwhile
		response, err := next.RoundTrip(request)
		if err != nil {
			return nil, err
		}
		if dated, err := http.ParseTime(response.Header.Get("Date")); err == nil {
			s.see(ahead(sent, time.Now().Round(0), dated))
		}
		return response, nil
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// see logs what changes.
func (s *skew) see(now time.Duration) {
	s.shown.Set(now.Seconds())
	before := time.Duration(s.ahead.Swap(int64(now)))
	told, off := now.Abs() >= skewTold, !trusted(now)
	switch {
	case told == (before.Abs() >= skewTold) && off == !trusted(before):
	case told:
		s.log.Error(errSkew, "the clock of this node or of the API server is wrong", "ahead", now.Round(time.Second).String(), "ready", !off)
	default:
		s.log.Info("the clock is right again", "ahead", now.Round(time.Second).String())
	}
}

func trusted(ahead time.Duration) bool { return ahead.Abs() < skewBorne }

// off tells whether times are not to be trusted.
func (s *skew) off() bool { return !trusted(time.Duration(s.ahead.Load())) }

// ready is a check for /readyz.
func (s *skew) ready(*http.Request) error {
	if s.off() {
		return errSkew
	}
	return nil
}

var errSkew = errors.New("the clock differs from that of the API server")
