package registry

import (
	"maps"
	"net/http"
	"sync"
)

// Counts say what a repository was asked for. A request counts when it arrives, whatever becomes of it, so a client
// that has to authenticate first counts twice.
type Counts struct {
	ManifestGets  int64 `json:"manifestGets"`
	ManifestHeads int64 `json:"manifestHeads"`
	BlobGets      int64 `json:"blobGets"`
	BlobHeads     int64 `json:"blobHeads"`
	TokenRequests int64 `json:"tokenRequests"`
	// BlobBytes is how much of the blobs was sent.
	BlobBytes int64 `json:"blobBytes"`
}

// Manifests is how often manifests were asked for.
func (c Counts) Manifests() int64 { return c.ManifestGets + c.ManifestHeads }

// plus returns the sum of two Counts.
func (c Counts) plus(d Counts) Counts {
	return Counts{
		ManifestGets:  c.ManifestGets + d.ManifestGets,
		ManifestHeads: c.ManifestHeads + d.ManifestHeads,
		BlobGets:      c.BlobGets + d.BlobGets,
		BlobHeads:     c.BlobHeads + d.BlobHeads,
		TokenRequests: c.TokenRequests + d.TokenRequests,
		BlobBytes:     c.BlobBytes + d.BlobBytes,
	}
}

// counts are the Counts of every repository.
type counts struct {
	mu    sync.Mutex
	repos map[string]Counts
}

// Counts returns the sum over the repositories that match a pattern: a name, or a prefix that ends in a star.
func (r *Registry) Counts(pattern string) Counts {
	var sum Counts
	for repo, c := range r.AllCounts() {
		if matches(pattern, repo) {
			sum = sum.plus(c)
		}
	}
	return sum
}

// AllCounts returns the Counts of each repository that was asked for anything. A token request that names no
// repository is under "".
func (r *Registry) AllCounts() map[string]Counts {
	r.counts.mu.Lock()
	defer r.counts.mu.Unlock()
	return maps.Clone(r.counts.repos)
}

// ResetCounts starts all Counts from zero.
func (r *Registry) ResetCounts() {
	r.counts.mu.Lock()
	defer r.counts.mu.Unlock()
	clear(r.counts.repos)
}

func (c *counts) add(repo string, d Counts) {
	if d == (Counts{}) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.repos == nil {
		c.repos = map[string]Counts{}
	}
	c.repos[repo] = c.repos[repo].plus(d)
}

// one is what a request for a route counts as.
func one(at route, method string) Counts {
	switch {
	case at.kind == "manifests" && method == http.MethodGet:
		return Counts{ManifestGets: 1}
	case at.kind == "manifests" && method == http.MethodHead:
		return Counts{ManifestHeads: 1}
	case at.kind == "blobs" && method == http.MethodGet:
		return Counts{BlobGets: 1}
	case at.kind == "blobs" && method == http.MethodHead:
		return Counts{BlobHeads: 1}
	}
	return Counts{}
}

func (c *counts) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		at := parse(r.URL.Path)
		c.add(at.repo, one(at, r.Method))
		if r.URL.Path == "/token" {
			c.addToken(r)
		}
		if at.downloads(r.Method) {
			w = &meter{ResponseWriter: w, add: func(n int) { c.add(at.repo, Counts{BlobBytes: int64(n)}) }}
		}
		next.ServeHTTP(w, r)
	})
}

// addToken counts a token request for each repository that it names.
func (c *counts) addToken(r *http.Request) {
	if r.ParseForm() != nil {
		return // refused by the token server
	}
	scopes := parseScopes(r.Form["scope"])
	if len(scopes) == 0 {
		scopes = map[string][]string{"": nil}
	}
	for repo := range scopes {
		c.add(repo, Counts{TokenRequests: 1})
	}
}

// meter is a ResponseWriter that measures the body of an answer, unless it is an error.
type meter struct {
	http.ResponseWriter
	add   func(int)
	error bool
}

func (m *meter) WriteHeader(status int) {
	m.error = status >= http.StatusBadRequest
	m.ResponseWriter.WriteHeader(status)
}

// Write counts before it writes: once a client has the bytes, they are counted.
func (m *meter) Write(p []byte) (int, error) {
	if m.error {
		return m.ResponseWriter.Write(p)
	}
	m.add(len(p))
	n, err := m.ResponseWriter.Write(p)
	m.add(n - len(p))
	return n, err
}

// Unwrap lets http.ResponseController find the connection.
func (m *meter) Unwrap() http.ResponseWriter { return m.ResponseWriter }
