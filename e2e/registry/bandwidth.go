package registry

import (
	"net/http"
	"sync/atomic"

	"golang.org/x/time/rate"
)

// bandwidth caps what all downloads of blobs together may take.
type bandwidth struct {
	current atomic.Pointer[bucket]
}

// bucket is a token bucket of bytes. Clients take their turns in order, a chunk at a time, so each gets an equal share.
type bucket struct {
	limiter *rate.Limiter
	chunk   int
}

// newBucket returns a bucket for a rate in bits per second. It holds 20 ms worth, enough to make up for a late timer
// and too little to be seen in a download, and a chunk takes 10 ms at most, so a new rate takes effect at once.
func newBucket(bits int64) *bucket {
	perSecond := float64(bits) / 8
	chunk := min(max(int(perSecond/100), 512), 16<<10)
	return &bucket{
		limiter: rate.NewLimiter(rate.Limit(perSecond), max(chunk, int(perSecond/50))),
		chunk:   chunk,
	}
}

// SetBandwidth caps the downloads of blobs by all clients together, in bits per second. 0 lifts the cap. Downloads
// that are under way follow.
func (r *Registry) SetBandwidth(bits int64) {
	if bits <= 0 {
		r.bandwidth.current.Store(nil)
		return
	}
	r.bandwidth.current.Store(newBucket(bits))
}

func (b *bandwidth) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !parse(r.URL.Path).downloads(r.Method) {
			next.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(bodyWriter{w, func(p []byte) (written int, err error) {
			for written < len(p) {
				bucket := b.current.Load()
				if bucket == nil {
					n, err := w.Write(p[written:])
					return written + n, err
				}
				chunk := p[written:min(written+bucket.chunk, len(p))]
				if err := bucket.limiter.WaitN(r.Context(), len(chunk)); err != nil {
					return written, err
				}
				n, err := w.Write(chunk)
				written += n
				if err != nil {
					return written, err
				}
			}
			return written, nil
		}}, r)
	})
}
