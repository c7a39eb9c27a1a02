package registry

import (
	"net/http"
	"sync/atomic"

	"golang.org/x/time/rate"
)

// bandwidth caps what all downloads of blobs together may take, and what each of them may.
type bandwidth struct {
	current atomic.Pointer[bucket]
	each    atomic.Int64 // bits per second, 0 without a cap
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

// SetBandwidthEach caps every download of a blob by itself, in bits per second. 0 lifts the cap. Downloads that are under way
// keep theirs.
func (r *Registry) SetBandwidthEach(bits int64) { r.bandwidth.each.Store(max(0, bits)) }

func (b *bandwidth) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !parse(r.URL.Path).downloads(r.Method) {
			next.ServeHTTP(w, r)
			return
		}
		var own *bucket
		if bits := b.each.Load(); bits > 0 {
			own = newBucket(bits)
		}
		next.ServeHTTP(bodyWriter{w, func(p []byte) (written int, err error) {
			for written < len(p) {
				chunk := p[written:]
				var caps []*bucket
				for _, bucket := range []*bucket{own, b.current.Load()} {
					if bucket != nil {
						caps, chunk = append(caps, bucket), chunk[:min(len(chunk), bucket.chunk)]
					}
				}
				for _, bucket := range caps {
					if err := bucket.limiter.WaitN(r.Context(), len(chunk)); err != nil {
						return written, err
					}
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
