package registry

import (
	"context"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"
)

func TestRefusals(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		fault      Fault
		status     int
		retryAfter string
	}{
		"not allowed":       {Refuse(401), 401, ""},
		"not there":         {Refuse(404), 404, ""},
		"too many requests": {TooManyRequests(30 * time.Second), 429, "30"},
		"broken":            {Refuse(500), 500, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := start(t)
			push(t, r, "bad", 1)
			push(t, r, "good", 1)
			r.SetFault("bad", tc.fault)
			resp, _, _ := get(t, manifestURL(r, "bad"))
			if got := resp.Header.Get("Retry-After"); resp.StatusCode != tc.status || got != tc.retryAfter {
				t.Errorf("status %d, Retry-After %q; want %d, %q", resp.StatusCode, got, tc.status, tc.retryAfter)
			}
			if got := head(t, r, "bad", authn.Anonymous); got != tc.status {
				t.Errorf("a real client sees %d, want %d", got, tc.status)
			}
			if got := head(t, r, "good", authn.Anonymous); got != 200 {
				t.Errorf("another repository has status %d", got)
			}
			r.LiftFault("bad")
			if got := head(t, r, "bad", authn.Anonymous); got != 200 {
				t.Errorf("after the fault is lifted: status %d", got)
			}
		})
	}
}

func TestTheFaultThatARequestMeets(t *testing.T) {
	t.Parallel()
	manifest, blob := route{"team/app", "manifests", "v1"}, route{"team/app", "blobs", "sha256:1"}
	type request struct {
		at     route
		method string
		status int // 0: none
	}
	for name, tc := range map[string]struct {
		set      func(*Registry)
		requests []request
	}{
		"none is set": {func(*Registry) {}, []request{{manifest, "GET", 0}}},
		"the best pattern counts": {
			func(r *Registry) { r.SetFault("team/*", Refuse(404)); r.SetFault("team/app", Refuse(500)) },
			[]request{{manifest, "GET", 500}, {route{"team/web", "manifests", "v1"}, "GET", 404}},
		},
		"a new one takes the place of the old": {
			func(r *Registry) { r.SetFault("*", Refuse(404)); r.SetFault("*", Refuse(500)) },
			[]request{{manifest, "HEAD", 500}},
		},
		"the first two only": {
			func(r *Registry) { r.SetFault("*", Refuse(500).First(2)) },
			[]request{{manifest, "GET", 500}, {blob, "HEAD", 500}, {manifest, "GET", 0}},
		},
		"outside all repositories there are none": {
			func(r *Registry) { r.SetFault("*", Refuse(500)) },
			[]request{{route{}, "GET", 0}, {blob, "PUT", 500}},
		},
		"to cut there has to be a download": {
			func(r *Registry) { f := CutAfter(5); f.status = 1; r.SetFault("*", f.First(1)) },
			[]request{{manifest, "GET", 0}, {blob, "HEAD", 0}, {blob, "GET", 1}, {blob, "GET", 0}},
		},
		"lifting what is not set is fine": {
			func(r *Registry) { r.LiftFault("*") },
			[]request{{manifest, "GET", 0}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var r Registry
			tc.set(&r)
			for i, req := range tc.requests {
				status := 0
				if met := r.faults.meet(req.at, req.method); met != nil {
					status = met.status
				}
				if status != req.status {
					t.Errorf("request %d meets %d, want %d", i, status, req.status)
				}
			}
		})
	}
}

func TestAHangingRequest(t *testing.T) {
	t.Parallel()
	type end struct {
		Status int
		Failed bool
	}
	for name, tc := range map[string]struct {
		release func(*Registry, context.CancelFunc)
		want    end
	}{
		"is served once the fault is lifted": {
			func(r *Registry, _ context.CancelFunc) { r.LiftFault("app") }, end{Status: 200},
		},
		"meets the fault that comes next": {
			func(r *Registry, _ context.CancelFunc) { r.SetFault("app", Refuse(500)) }, end{Status: 500},
		},
		"ends with its client": {
			func(_ *Registry, cancel context.CancelFunc) { cancel() }, end{Failed: true},
		},
		"ends with the registry": {
			func(r *Registry, _ context.CancelFunc) { _ = r.Close() }, end{Failed: true},
		},
		"ends when the registry goes down": {
			func(r *Registry, _ context.CancelFunc) { r.SetDown(true) }, end{Failed: true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := start(t)
			push(t, r, "app", 1)
			r.SetFault("app", Hang())
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			req, _ := http.NewRequestWithContext(ctx, http.MethodGet, manifestURL(r, "app"), nil)
			ended := make(chan end, 1)
			go func() {
				resp, err := new(http.Transport).RoundTrip(req)
				if err != nil {
					ended <- end{Failed: true}
					return
				}
				resp.Body.Close()
				ended <- end{Status: resp.StatusCode}
			}()
			eventually(t, "the request", func() bool { return r.Counts("app").ManifestGets == 1 })
			select {
			case got := <-ended:
				t.Fatalf("did not hang: %+v", got)
			default:
			}
			tc.release(r, cancel)
			if diff := cmp.Diff(tc.want, <-ended); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestACutConnection(t *testing.T) {
	t.Parallel()
	r := start(t)
	url := blobURL(t, r, "app", push(t, r, "app", 1_000_000))
	for name, after := range map[string]int64{"before the first byte": 0, "after some bytes": 123_456} {
		r.SetFault("app", CutAfter(after))
		resp, n, err := get(t, url)
		if resp.StatusCode != 200 || n != after || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: status %d, %d bytes, error %v", name, resp.StatusCode, n, err)
		}
	}
	r.ResetCounts()
	r.SetFault("app", CutAfter(100_000).First(1))
	_, got, _ := get(t, url)
	resp, rest, err := get(t, url, "Range", "bytes=100000-")
	if err != nil || got+rest != resp.ContentLength+100_000 || rest != resp.ContentLength {
		t.Errorf("the rest after a cut: %d and %d bytes, error %v", got, rest, err)
	}
	r.SetFault("app", CutAfter(10_000_000))
	if _, n, err := get(t, url); err != nil || n != got+rest {
		t.Errorf("a blob below the limit: %d bytes, error %v", n, err)
	}
}

func TestACutCountsWithTheCap(t *testing.T) {
	t.Parallel()
	r := start(t)
	url := blobURL(t, r, "app", push(t, r, "app", 1_000_000))
	r.SetBandwidth(1000 * mbit)
	r.SetFault("app", CutAfter(123_456))
	if _, n, err := get(t, url); n != 123_456 || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%d bytes, error %v", n, err)
	}
	if got := r.Counts("app").BlobBytes; got != 123_456 {
		t.Errorf("%d bytes counted", got)
	}
}
