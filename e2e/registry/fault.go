package registry

import (
	"net/http"
	"strconv"
	"sync"
	"time"
)

// Fault is one way in which a registry fails: Refuse, TooManyRequests, Hang or CutAfter.
type Fault struct {
	status     int
	retryAfter time.Duration
	hang       bool
	cut        bool
	after      int64
	first      int
}

// Refuse answers every request of a repository with a status, such as 401, 404 or 500.
func Refuse(status int) Fault { return Fault{status: status} }

// TooManyRequests answers every request of a repository with 429 and a Retry-After header in whole seconds.
func TooManyRequests(retryAfter time.Duration) Fault {
	return Fault{status: http.StatusTooManyRequests, retryAfter: retryAfter}
}

// Hang leaves every request of a repository without an answer until the client goes away, the fault is lifted (then
// the request is served) or the Registry is closed.
func Hang() Fault { return Fault{hang: true} }

// CutAfter closes the connection of every download of a blob after so many bytes of it; 0 means before the first.
// Smaller blobs arrive.
func CutAfter(bytes int64) Fault { return Fault{cut: true, after: bytes} }

// First limits a fault to the first n requests that it meets.
func (f Fault) First(n int) Fault {
	f.first = n
	return f
}

// faults are the faults that are set.
type faults struct {
	mu  sync.Mutex
	all rules[*fault]
}

// fault is a Fault that is set.
type fault struct {
	Fault
	met    int
	lifted chan struct{}
}

// SetFault makes the repositories that match a pattern fail: a name, or a prefix that ends in a star. The best match
// counts. It takes the place of the fault that the same pattern had.
func (r *Registry) SetFault(pattern string, f Fault) {
	r.faults.set(pattern, &fault{Fault: f, lifted: make(chan struct{})})
}

// LiftFault ends the fault that was set with the same pattern.
func (r *Registry) LiftFault(pattern string) { r.faults.set(pattern, nil) }

func (f *faults) set(pattern string, next *fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if old, ok := f.all[pattern]; ok {
		close(old.lifted)
		delete(f.all, pattern)
	}
	if next == nil {
		return
	}
	if f.all == nil {
		f.all = rules[*fault]{}
	}
	f.all[pattern] = next
}

// meet returns the fault that a request meets, or nil.
func (f *faults) meet(at route, method string) *fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	found, ok := f.all.find(at.repo)
	if !ok || at.repo == "" || found.cut && !at.downloads(method) {
		return nil
	}
	if found.first > 0 && found.met == found.first {
		return nil
	}
	found.met++
	return found
}

func (f *faults) wrap(closed <-chan struct{}, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		met := f.meet(parse(r.URL.Path), r.Method)
		for met != nil && met.hang {
			select {
			case <-met.lifted:
			case <-r.Context().Done():
				return
			case <-closed:
				panic(http.ErrAbortHandler)
			}
			met = f.meet(parse(r.URL.Path), r.Method)
		}
		switch {
		case met == nil:
			next.ServeHTTP(w, r)
		case met.status != 0:
			if met.retryAfter > 0 {
				w.Header().Set("Retry-After", strconv.Itoa(int(met.retryAfter.Seconds())))
			}
			refuse(w, met.status, "a fault that was set on purpose")
		default:
			next.ServeHTTP(cutOff(w, met.after), r)
		}
	})
}

// cutOff returns a ResponseWriter that closes the connection after so many bytes of the body.
func cutOff(w http.ResponseWriter, left int64) http.ResponseWriter {
	return bodyWriter{w, func(p []byte) (int, error) {
		if int64(len(p)) <= left {
			n, err := w.Write(p)
			left -= int64(n)
			return n, err
		}
		_, _ = w.Write(p[:left])
		_ = http.NewResponseController(w).Flush() // what was sent so far arrives, as from a cut wire
		panic(http.ErrAbortHandler)
	}}
}
