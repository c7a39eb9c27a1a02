// Package registry is an OCI registry that tests control: how fast it is, whom it lets in, how it fails, and what it
// was asked for. Everything can be changed while it runs.
package registry

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	ggcr "github.com/google/go-containerregistry/pkg/registry"
)

// Options are what a Registry starts with.
type Options struct {
	// Dir is where the Registry makes a directory for its blobs, which Close removes. Default: the system's
	// temporary directory.
	Dir string
	// Bandwidth is the cap in bits per second that all clients share. Default: 0, no cap.
	Bandwidth int64
	// Latency is added to every request. Default: 0.
	Latency time.Duration
}

// Registry serves images over plain HTTP. Manifests are kept in memory and blobs on disk, by digest and for all
// repositories together. Its methods may be called at any time and from any goroutine.
type Registry struct {
	dir       string
	server    *http.Server
	storage   http.Handler
	gate      gate
	latency   latency
	bandwidth bandwidth
	faults    faults
	auth      auth
	counts    counts

	closed  chan struct{}
	once    sync.Once
	serving sync.WaitGroup

	mu   sync.Mutex
	addr string
}

// New returns a Registry that is not listening yet. The caller closes it.
func New(o Options) (*Registry, error) {
	dir, err := os.MkdirTemp(o.Dir, "registry-")
	if err != nil {
		return nil, fmt.Errorf("making the directory of the registry: %w", err)
	}
	r := &Registry{dir: dir, closed: make(chan struct{})}
	r.SetBandwidth(o.Bandwidth)
	r.SetLatency(o.Latency)

	blobs := blobs(dir)
	silent := log.New(io.Discard, "", 0)
	r.storage = blobs.serve(blobs.spool(ggcr.New(ggcr.WithBlobHandler(blobs), ggcr.Logger(silent))))
	r.server = &http.Server{
		Handler: r.counts.wrap(
			r.latency.wrap(
				r.faults.wrap(r.closed,
					r.auth.wrap(
						r.bandwidth.wrap(r.storage))))),
		ErrorLog: silent,
	}
	return r, nil
}

// Listen starts to serve on a TCP address, such as 127.0.0.1:0, and returns once connections are accepted. A Registry
// may listen on several addresses.
func (r *Registry) Listen(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("listening for the registry: %w", err)
	}
	r.Serve(l)
	return nil
}

// Serve starts to serve on a listener, which from then on belongs to the Registry, and returns at once.
func (r *Registry) Serve(l net.Listener) {
	r.mu.Lock()
	if r.addr == "" {
		r.addr = l.Addr().String()
	}
	r.mu.Unlock()
	r.serving.Go(func() { _ = r.server.Serve(r.gate.guard(l)) }) // ends with the error that Close causes
}

// Addr is the first address that the Registry listens on, as host:port, and "" before there is one.
func (r *Registry) Addr() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.addr
}

// Close ends every connection and removes the blobs.
func (r *Registry) Close() error {
	var err error
	r.once.Do(func() {
		close(r.closed)
		_ = r.server.Close() // the only errors are those of listeners that are gone already
		r.serving.Wait()
		err = os.RemoveAll(r.dir)
	})
	if err != nil {
		return fmt.Errorf("removing the blobs of the registry: %w", err)
	}
	return nil
}
