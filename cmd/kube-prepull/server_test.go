package main

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// start gives the times of a server another limit, and starts it.
func start(t *testing.T, handler http.Handler, limit time.Duration) string {
	t.Helper()
	server := newServer(timely(handler, limit))
	for _, bound := range []*time.Duration{&server.ReadHeaderTimeout, &server.WriteTimeout, &server.IdleTimeout} {
		if *bound == 0 {
			t.Fatal("a time has no bound")
		}
		*bound = limit
	}
	return listenAndServe(t, server)
}

// listenAndServe starts a server at a listener of its own with a certificate.
func listenAndServe(t *testing.T, config *http.Server) string {
	t.Helper()
	l, err := listenFairly("127.0.0.1:0", 10)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(nil)
	server.Listener.Close()
	server.Listener, server.Config = l, config
	server.StartTLS()
	t.Cleanup(server.Close)
	return l.Addr().String()
}

func TestWhoTakesHisTimeIsHungUpOn(t *testing.T) {
	t.Parallel()
	unread := http.NotFoundHandler()
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			w.WriteHeader(http.StatusBadRequest)
		}
	})
	endless := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := w.Write(make([]byte, 1<<20)); err != nil {
				return
			}
		}
	})
	for name, test := range map[string]struct {
		handler http.Handler
		plain   bool
		send    string
	}{
		"with a handshake":              {echo, true, "\x16\x03\x01\x40\x00\x01\x00\x3f\xfc\x03\x03"},
		"with headers":                  {echo, false, "POST / HTTP/1.1\r\nHost: x\r\nX-Slow: "},
		"with a body":                   {echo, false, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{"},
		"with a body that nobody reads": {unread, false, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{"},
		"with reading the answer":       {endless, false, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"},
		"with the next request":         {echo, false, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, err := net.Dial("tcp", start(t, test.handler, 50*time.Millisecond))
			if err != nil {
				t.Fatal(err)
			}
			if !test.plain {
				conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, test.send) // on a slow machine it is hung up on by now
			if err := conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
				t.Fatal(err)
			}
			var late net.Error
			if _, err := io.Copy(io.Discard, conn); errors.As(err, &late) && late.Timeout() {
				t.Error("the connection is still open")
			}
		})
	}
}

// Go's client opens connections that it has a request for much later, if another is free sooner.
func TestAConnectionMayWaitForItsFirstRequest(t *testing.T) {
	t.Parallel()
	const limit = 200 * time.Millisecond
	server := newServer(timely(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			w.WriteHeader(http.StatusBadRequest)
		}
	}), limit))
	if server.ReadTimeout > 0 {
		server.ReadTimeout = limit
	}
	conn, err := tls.Dial("tcp", listenAndServe(t, server), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(2 * limit)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("waiting ended with: %v", err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"); err != nil {
		t.Fatal(err)
	}
	status, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || !strings.Contains(status, "200") {
		t.Errorf("the answer is %q, %v", status, err)
	}
}

func TestHugeHeadersAreRefused(t *testing.T) {
	t.Parallel()
	conn, err := tls.Dial("tcp", start(t, http.NotFoundHandler(), time.Minute), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nX-Huge: "+strings.Repeat("x", 2*maxHeader)) //nolint:errcheck // it may hang up
	status, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || !strings.Contains(status, "431") {
		t.Errorf("the answer is %q, %v", status, err)
	}
}

// A review on its way to a server that hangs up is lost: Go sends no POST twice. So whoever sends has to hang up first. API
// servers have the idle time of Go's default transport.
func TestAPIServersHangUpFirst(t *testing.T) {
	t.Parallel()
	theirs, server := http.DefaultTransport.(*http.Transport).IdleConnTimeout, newServer(nil)
	for request, ours := range map[string]time.Duration{"first": server.ReadHeaderTimeout, "next": server.IdleTimeout} {
		if ours <= theirs {
			t.Errorf("the server waits %s for the %s request, API servers hang up after %s", ours, request, theirs)
		}
	}
}

// Who has given up waits for no answer; a review that somebody waits for is read, however late it comes.
func TestAPIServersGiveUpFirst(t *testing.T) {
	t.Parallel()
	chart, err := os.ReadFile("../../deploy/chart/templates/mutatingwebhookconfiguration.yaml")
	if err != nil {
		t.Fatal(err)
	}
	waits := []time.Duration{http.DefaultTransport.(*http.Transport).TLSHandshakeTimeout, 10 * time.Second} // Kubernetes' default for webhooks
	shipped := regexp.MustCompile(`timeoutSeconds: (\d+)`).FindAllStringSubmatch(string(chart), -1)
	if len(shipped) == 0 {
		t.Fatal("the chart says nothing")
	}
	for _, match := range shipped {
		wait, err := time.ParseDuration(match[1] + "s")
		if err != nil {
			t.Fatal(err)
		}
		waits = append(waits, wait)
	}
	for _, wait := range waits {
		if requestTime < wait || answerTime <= wait {
			t.Errorf("a request has %s and its answer %s, API servers wait %s", requestTime, answerTime, wait)
		}
	}
}
