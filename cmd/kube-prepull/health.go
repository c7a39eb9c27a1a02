package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
)

// selfTime is how long the manager waits for itself to answer; the kubelet waits a second longer.
const selfTime = 4 * time.Second

// health answers the kubelet at /healthz and /readyz. It does so from the very beginning: a manager that takes its time to
// start, because others have the processors, is alive.
type health struct {
	mux   http.ServeMux
	ready atomic.Pointer[map[string]healthz.Checker]
}

func newHealth() *health {
	h := &health{}
	h.readyIf(map[string]healthz.Checker{"started": func(*http.Request) error { return errors.New("it starts") }})
	h.handle("/healthz", func() map[string]healthz.Checker { return map[string]healthz.Checker{"alive": healthz.Ping} })
	h.handle("/readyz", func() map[string]healthz.Checker { return *h.ready.Load() })
	return h
}

// readyIf sets the checks of which none may fail.
func (h *health) readyIf(checks map[string]healthz.Checker) { h.ready.Store(&checks) }

func (h *health) handle(path string, checks func() map[string]healthz.Checker) {
	handler := http.StripPrefix(path, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		(&healthz.Handler{Checks: checks()}).ServeHTTP(w, r)
	}))
	h.mux.Handle(path, handler)
	h.mux.Handle(path+"/", handler)
}

// serve answers at a listener from now on, until it is stopped.
func (h *health) serve(listener net.Listener) (stop func()) {
	server := newServer(&h.mux)
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			ctrl.Log.Error(err, "health is not served any more")
		}
	}()
	return func() { _ = server.Close() } // nobody is left who would do anything about it
}

// reachable is a check that reviews would be answered: whether a TLS handshake comes to its end.
func reachable(port int) healthz.Checker {
	address := net.JoinHostPort("", strconv.Itoa(port))
	dialer := &tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}} // what it does, not who it is
	return func(req *http.Request) error {
		ctx, cancel := context.WithTimeout(req.Context(), selfTime)
		defer cancel()
		conn, err := dialer.DialContext(ctx, "tcp", address)
		if err != nil {
			return fmt.Errorf("connecting to the webhook: %w", err)
		}
		return conn.Close()
	}
}
