package registry

import (
	"net/http"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
)

func TestTheRegistryIsDownAndBack(t *testing.T) {
	t.Parallel()
	r := start(t)
	url := blobURL(t, r, "app", push(t, r, "app", 1_000_000))
	r.SetBandwidth(mbit) // it would take 8 s
	cut := make(chan int64, 1)
	go func() {
		_, n, err := get(t, url)
		if err == nil {
			t.Error("the download ended well")
		}
		cut <- n
	}()
	eventually(t, "the first bytes", func() bool { return r.Counts("app").BlobBytes > 0 })

	r.SetDown(true)
	if n := <-cut; n >= 1_000_000 {
		t.Errorf("all %d bytes arrived", n)
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
