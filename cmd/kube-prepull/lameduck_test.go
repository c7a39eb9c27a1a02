package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/manager"
)

func TestALameduckStaysUntilItIsQuiet(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		until time.Duration // it is used
		want  time.Duration
	}{
		"nobody uses it":                   {0, 5 * time.Second},
		"it is quiet before it may go":     {2 * time.Second, 5 * time.Second},
		"it was used just before":          {4 * time.Second, 6 * time.Second},
		"it is used longer":                {9 * time.Second, 11 * time.Second},
		"somebody uses it as if for ever":  {time.Hour, 15 * time.Second},
		"it is not quiet by the very last": {14 * time.Second, 15 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				parent, stop := context.WithCancel(t.Context())
				told := time.Now().Add(time.Hour)
				uses := func() int64 { return int64(min(time.Since(told), test.until)) }
				late := lameduck(parent, lameduckStay, uses)
				time.Sleep(time.Hour)
				synctest.Wait()
				if late.Err() != nil {
					t.Fatal("it went before it was told to")
				}
				stop()
				<-late.Done()
				if took := time.Since(told); took != test.want {
					t.Errorf("it went after %s, want %s", took, test.want)
				}
			})
		})
	}
}

// The kubelet kills what is still there after the grace period, 30 seconds where a pod does not say.
func TestAManagerGoesBeforeItIsKilled(t *testing.T) {
	t.Parallel()
	if took := lameduckStay.atMost + shutdownTime; took > 25*time.Second {
		t.Errorf("it may take %s", took)
	}
}

// added is a manager that keeps the server which is added to it.
type added struct {
	manager.Manager
	server manager.Runnable
}

func (a *added) Add(r manager.Runnable) error {
	a.server = r
	return nil
}

// replica is one of two managers: where it listens, how many reviews it has answered, and what becomes of it.
type replica struct {
	address  string
	answered atomic.Int64
	end      chan error
}

// serve starts the server of a manager, which goes a while after it is told to.
func serve(t *testing.T, told context.Context) *replica {
	t.Helper()
	listener, err := listenFairly("127.0.0.1:0", maxReviewConnections)
	if err != nil {
		t.Fatal(err)
	}
	lender := httptest.NewTLSServer(nil)
	certificate := lender.TLS.Certificates[0]
	lender.Close()
	r := &replica{address: listener.Addr().String(), end: make(chan error, 1)}
	var mgr added
	secure := secured(listener, func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &certificate, nil })
	if err := addServer(&mgr, "webhook", secure, lastAnswers(told, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		r.answered.Add(1)
	}))); err != nil {
		t.Fatal(err)
	}
	late := lameduck(told, stay{atLeast: 300 * time.Millisecond, atMost: 30 * time.Second, quiet: lameduckStay.quiet}, listener.uses)
	go func() { r.end <- mgr.server.Start(late) }()
	return r
}

// apiServer calls webhooks as an API server does: with Go's client, over connections that it keeps, and no review twice.
type apiServer struct {
	client   http.Client
	endpoint atomic.Pointer[replica] // to which connections are opened

	mu   sync.Mutex
	lost map[string]int
}

func newAPIServer() *apiServer {
	a := &apiServer{lost: map[string]int{}}
	a.client.Transport = &http.Transport{
		TLSClientConfig:     &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}},
		MaxIdleConnsPerHost: 25,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, a.endpoint.Load().address)
		},
	}
	return a
}

// ask sends reviews one after the other until ctx ends.
func (a *apiServer) ask(ctx context.Context) {
	review := bytes.Repeat([]byte("x"), 40<<10)
	for ctx.Err() == nil {
		response, err := a.client.Post("https://webhook/observe", "application/json", bytes.NewReader(review))
		if err == nil {
			response.Body.Close()
			if response.StatusCode != http.StatusOK {
				err = fmt.Errorf("status %d", response.StatusCode)
			}
		}
		if err != nil {
			a.mu.Lock()
			a.lost[err.Error()]++
			a.mu.Unlock()
		}
	}
}

// starve leaves one processor, which others use all the time.
func starve(t *testing.T) {
	t.Helper()
	processors := runtime.GOMAXPROCS(1)
	var stop atomic.Bool
	var hogs sync.WaitGroup
	for range 3 {
		hogs.Go(func() {
			for !stop.Load() {
			}
		})
	}
	t.Cleanup(func() {
		stop.Store(true)
		hogs.Wait()
		runtime.GOMAXPROCS(processors)
	})
}

// Not parallel: one case takes the processors away.
func TestNoReviewIsLostWhenAManagerIsReplaced(t *testing.T) {
	for name, prepare := range map[string]func(*testing.T){
		"on a machine with time": func(*testing.T) {},
		"on a starved one":       starve,
	} {
		t.Run(name, func(t *testing.T) {
			told, tell := context.WithCancel(t.Context())
			old, next := serve(t, told), serve(t, t.Context())
			api := newAPIServer()
			api.endpoint.Store(old)
			prepare(t)

			asked, stop := context.WithCancel(t.Context())
			var all sync.WaitGroup
			for range 25 {
				all.Go(func() { api.ask(asked) })
			}
			waitAnswered(t, old, 25)
			tell()
			waitAnswered(t, old, 25) // the API server does not know yet
			api.endpoint.Store(next)
			select {
			case err := <-old.end:
				if err != nil {
					t.Error(err)
				}
			case <-time.After(time.Minute):
				t.Error("the manager does not go")
			}
			waitAnswered(t, next, 25)
			stop()
			all.Wait()
			for err, times := range api.lost {
				t.Errorf("lost %d times: %s", times, err)
			}
		})
	}
}

// waitAnswered waits until a replica has answered so many more reviews.
func waitAnswered(t *testing.T, r *replica, more int64) {
	t.Helper()
	want := r.answered.Load() + more
	for deadline := time.Now().Add(time.Minute); r.answered.Load() < want; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d reviews were answered, want %d", r.answered.Load(), want)
		}
	}
}
