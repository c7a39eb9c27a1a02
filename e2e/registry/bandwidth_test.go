package registry

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const (
	mbit   = 1_000_000
	tenMB  = 10_000_000
	aBlob  = "/v2/app/blobs/sha256:1"
	within = 0.05 // of the time that arithmetic gives
)

// download is how long a handler that sends so many bytes takes, in the time of a synctest bubble.
func download(ctx context.Context, b *bandwidth, path string, size int) time.Duration {
	begin := time.Now()
	h := b.wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		chunk := make([]byte, 32<<10)
		for size > 0 {
			n, err := w.Write(chunk[:min(size, len(chunk))])
			if err != nil {
				return
			}
			size -= n
		}
	}))
	h.ServeHTTP(nowhere{}, httptest.NewRequestWithContext(ctx, http.MethodGet, path, nil))
	return time.Since(begin)
}

// nowhere is a ResponseWriter that keeps nothing.
type nowhere struct{}

func (nowhere) Header() http.Header         { return http.Header{} }
func (nowhere) WriteHeader(int)             {}
func (nowhere) Write(p []byte) (int, error) { return len(p), nil }

func wantAbout(t *testing.T, what string, got, want time.Duration) {
	t.Helper()
	if d := (got - want).Seconds() / want.Seconds(); d < -within || d > within {
		t.Errorf("%s took %v, want %v", what, got, want)
	}
}

func TestOneDownloadGetsTheBandwidth(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		bits int64
		size int
		want time.Duration
	}{
		"10 MB at 100 Mbit/s": {100 * mbit, tenMB, 800 * time.Millisecond},
		"100 MB at 10 Gbit/s": {10_000 * mbit, 10 * tenMB, 80 * time.Millisecond},
		"10 KB at 8 kbit/s":   {8_000, 10_000, 10 * time.Second},
		"100 KB at 1 Mbit/s":  {mbit, 100_000, 800 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var r Registry
				r.SetBandwidth(tc.bits)
				got := download(t.Context(), &r.bandwidth, aBlob, tc.size)
				// What the bucket held before the first byte: 20 ms, or one chunk of 512 bytes.
				held := max(20*time.Millisecond, time.Duration(512*8*float64(time.Second)/float64(tc.bits)))
				wantAbout(t, "the download", got+held, tc.want)
			})
		})
	}
}

func TestDownloadsShareTheBandwidthEqually(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var r Registry
		r.SetBandwidth(100 * mbit)
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				wantAbout(t, "one of three downloads", download(t.Context(), &r.bandwidth, aBlob, tenMB), 2400*time.Millisecond)
			})
		}
		wg.Wait()
	})
}

func TestADownloadFollowsTheBandwidth(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		then int64
		want time.Duration
	}{
		"faster":        {200 * mbit, 600 * time.Millisecond},
		"slower":        {50 * mbit, 1200 * time.Millisecond},
		"without a cap": {0, 400 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var r Registry
				r.SetBandwidth(100 * mbit)
				time.AfterFunc(400*time.Millisecond, func() { r.SetBandwidth(tc.then) })
				got := download(t.Context(), &r.bandwidth, aBlob, tenMB)
				if got < tc.want-100*time.Millisecond || got > tc.want+100*time.Millisecond {
					t.Errorf("took %v, want %v", got, tc.want)
				}
			})
		})
	}
}

func TestWhatTheCapLeavesAlone(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		bits int64
		path string
	}{
		"a manifest":           {1, "/v2/app/manifests/latest"},
		"a token":              {1, "/token"},
		"a blob without a cap": {0, aBlob},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var r Registry
				r.SetBandwidth(tc.bits)
				if got := download(t.Context(), &r.bandwidth, tc.path, tenMB); got != 0 {
					t.Errorf("took %v", got)
				}
			})
		})
	}
}

func TestADownloadEndsWithItsClient(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var r Registry
		r.SetBandwidth(mbit)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if got := download(ctx, &r.bandwidth, aBlob, tenMB); got > 1100*time.Millisecond {
			t.Errorf("went on for %v", got)
		}
	})
}

// On a wire the cap is a lower bound: a busy machine may be slower.
func TestTwoClientsShareTheWire(t *testing.T) {
	t.Parallel()
	r := start(t)
	url := blobURL(t, r, "app", push(t, r, "app", 5_000_000))
	r.SetBandwidth(100 * mbit)
	begin := time.Now()
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if resp, n, err := get(t, url); err != nil || resp.ContentLength != n {
				t.Errorf("%d bytes of %d, error %v", n, resp.ContentLength, err)
			}
		})
	}
	wg.Wait()
	took := time.Since(begin)
	t.Logf("two downloads of 5 MB at 100 Mbit/s: %v", took)
	if took < 720*time.Millisecond || took > 3*time.Second {
		t.Errorf("took %v, want 800 ms", took)
	}
}

func TestLatency(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		latency, patience, want time.Duration
		served                  bool
	}{
		"none":                  {0, time.Minute, 0, true},
		"every request waits":   {200 * time.Millisecond, time.Minute, 200 * time.Millisecond, true},
		"until its client goes": {time.Hour, time.Second, time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var r Registry
				r.SetLatency(tc.latency)
				ctx, cancel := context.WithTimeout(t.Context(), tc.patience)
				defer cancel()
				served := false
				begin := time.Now()
				r.latency.wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served = true })).
					ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet, "/v2/", nil))
				if took := time.Since(begin); took != tc.want || served != tc.served {
					t.Errorf("took %v, served %v; want %v, %v", took, served, tc.want, tc.served)
				}
			})
		})
	}
}

func TestEachDownloadGetsItsOwnBandwidth(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &Registry{}
		r.SetBandwidthEach(10 * mbit)
		var downloads sync.WaitGroup
		for range 4 {
			downloads.Go(func() { wantAbout(t, "one of four", download(t.Context(), &r.bandwidth, aBlob, tenMB), 8*time.Second) })
		}
		downloads.Wait()
		r.SetBandwidth(20 * mbit)
		for range 4 {
			downloads.Go(func() {
				wantAbout(t, "one of four that share twice as much", download(t.Context(), &r.bandwidth, aBlob, tenMB), 16*time.Second)
			})
		}
		downloads.Wait()
		r.SetBandwidth(0)
		r.SetBandwidthEach(0)
		if took := download(t.Context(), &r.bandwidth, aBlob, tenMB); took != 0 {
			t.Errorf("without a cap it took %v", took)
		}
	})
}
