package registry

import (
	"io"
	"net/http"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
)

func TestTheRegistryIsDownAndBack(t *testing.T) {
	t.Parallel()
	r := start(t)
	url := blobURL(t, r, "app", push(t, r, "app", 1_000_000))
	r.SetBandwidth(mbit) // it would take 8 s
	resp, err := new(http.Transport).RoundTrip(newRequest(t, url))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()

	r.SetDown(true)
	if n, err := io.Copy(io.Discard, resp.Body); err == nil || n >= 1_000_000 {
		t.Errorf("the download ended after %d bytes with error %v", n, err)
	}
	r.ResetCounts()
	for range 3 {
		resp, err := new(http.Transport).RoundTrip(newRequest(t, manifestURL(r, "app")))
		if err == nil {
			resp.Body.Close()
			t.Errorf("status %d while the registry is down", resp.StatusCode)
		}
	}
	if got := r.AllCounts(); len(got) != 0 {
		t.Errorf("requests arrived: %v", got)
	}
	push(t, r, "other", 1) // there is a way past

	r.SetDown(false)
	if got := head(t, r, "app", authn.Anonymous); got != 200 {
		t.Errorf("after it is back: status %d", got)
	}
}

func TestClosedConnectionsAreForgotten(t *testing.T) {
	t.Parallel()
	r := start(t)
	transport := new(http.Transport)
	resp, err := transport.RoundTrip(newRequest(t, "http://"+r.Addr()+"/v2/"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	transport.CloseIdleConnections()
	eventually(t, "no connections", func() bool {
		r.gate.mu.Lock()
		defer r.gate.mu.Unlock()
		return len(r.gate.conns) == 0
	})
}

func newRequest(t *testing.T, url string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return req
}
