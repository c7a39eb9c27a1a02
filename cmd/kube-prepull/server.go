package main

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/manager"
)

// Whoever reaches the manager's ports may send what he likes, and as slowly as he likes. What that costs is bounded: a
// connection holds a TLS handshake of 64 KiB or headers of maxHeader, beside the bodies that package webhook has room for.
const (
	// maxReviewConnections is more than an API server with its defaults has for one of two managers: 600 requests at a
	// time, of which each calls a webhook once at a time.
	maxReviewConnections = 512

	// maxProbeConnections is for kubelets.
	maxProbeConnections = 64

	// maxScrapeConnections is for Prometheus.
	maxScrapeConnections = 64

	maxHeader = 16 << 10

	// requestTime is from the headers of a request to the end of its body. API servers wait for a review 1 or 2 seconds as
	// the chart has it, 10 if nobody says otherwise: who has not sent it by then waits for no answer.
	requestTime = 10 * time.Second

	// answerTime is from the headers of a request to the end of its answer, and for a TLS handshake: API servers wait 10
	// seconds for that too.
	answerTime = requestTime + 5*time.Second

	// idleTime is how long a connection without a request is kept, the first one's headers included: longer than API servers
	// keep theirs, 90 seconds, since a review that crosses a hang-up is lost. They open connections that they have no request
	// for yet.
	idleTime = 2 * time.Minute
)

// addServer makes the manager serve what is asked for at a listener.
func addServer(mgr manager.Manager, name string, listener net.Listener, handler http.Handler) error {
	graceful := shutdownTime
	server := &manager.Server{Name: name, Server: newServer(handler), Listener: listener, ShutdownTimeout: &graceful}
	if err := mgr.Add(server); err != nil {
		return fmt.Errorf("adding the %s server: %w", name, err)
	}
	return nil
}

// newServer is a server whose clients have their time. What they do wrong is no news: everybody may do it, all the time.
func newServer(handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           timely(handler, requestTime),
		MaxHeaderBytes:    maxHeader,
		ReadHeaderTimeout: idleTime,
		WriteTimeout:      answerTime,
		IdleTimeout:       idleTime,
		ErrorLog:          slog.NewLogLogger(slog.Default().Handler(), slog.LevelDebug),
	}
}

// timely gives a request d from here on. http.Server.ReadTimeout begins with the connection, where the request is the first
// on it, and so may be over before a request is sent.
func timely(next http.Handler, d time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(d)) // fails on a connection that is gone
		next.ServeHTTP(w, r)
	})
}

// secured speaks TLS at a listener.
func secured(l net.Listener, certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)) net.Listener {
	return tls.NewListener(l, &tls.Config{
		GetCertificate: certificate,
		NextProtos:     []string{"http/1.1"}, // all that API servers speak to webhooks, and enough for a scrape
	})
}
