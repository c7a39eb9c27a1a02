package registry

import (
	"net/http"
	"sync/atomic"
	"time"
)

// latency is how long every request waits before anything else happens, in nanoseconds.
type latency struct {
	atomic.Int64
}

// SetLatency delays every request that comes from now on. 0 ends it.
func (r *Registry) SetLatency(d time.Duration) { r.latency.Store(int64(d)) }

func (l *latency) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if d := time.Duration(l.Load()); d > 0 {
			timer := time.NewTimer(d)
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-r.Context().Done():
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}
