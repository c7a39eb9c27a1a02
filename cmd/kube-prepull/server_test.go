package main

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/healthz"
)

// soon makes the times of a server short, and starts it at a listener of its own with a certificate.
func soon(t *testing.T, handler http.Handler) string {
	t.Helper()
	l, err := listenFairly("127.0.0.1:0", 10)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(handler)
	server.Listener.Close()
	server.Listener, server.Config = l, newServer(handler)
	for _, limit := range []*time.Duration{&server.Config.ReadTimeout, &server.Config.WriteTimeout, &server.Config.IdleTimeout} {
		if *limit == 0 {
			t.Fatal("a time has no bound")
		}
		*limit = 50 * time.Millisecond
	}
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
			conn, err := net.Dial("tcp", soon(t, test.handler))
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

func TestHugeHeadersAreRefused(t *testing.T) {
	t.Parallel()
	conn, err := tls.Dial("tcp", soon(t, http.NotFoundHandler()), &tls.Config{InsecureSkipVerify: true})
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

func TestProbes(t *testing.T) {
	t.Parallel()
	notYet := healthz.Checker(func(*http.Request) error { return errors.New("not yet") })
	for path, want := range map[string]int{
		"/healthz": 200, "/healthz/alive": 200, "/readyz": 500, "/readyz/fine": 200, "/readyz/webhook": 500, "/readyz?verbose": 500, "/": 404, "/metrics": 404,
	} {
		w := httptest.NewRecorder()
		probes(map[string]healthz.Checker{"fine": healthz.Ping, "webhook": notYet}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if w.Code != want {
			t.Errorf("%s answers %d, want %d", path, w.Code, want)
		}
	}
}

func TestReachable(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(http.NotFoundHandler())
	port := server.Listener.Addr().(*net.TCPAddr).Port
	request := httptest.NewRequest(http.MethodGet, "/readyz", nil)
	if err := reachable(port)(request); err != nil {
		t.Error(err)
	}
	server.Close()
	if err := reachable(port)(request); err == nil {
		t.Error("no error without a server")
	}
}

// A review on its way to a server that hangs up is lost: Go sends no POST twice. So whoever sends has to hang up first. API
// servers have the idle time of Go's default transport.
func TestAPIServersHangUpFirst(t *testing.T) {
	t.Parallel()
	theirs, ours := http.DefaultTransport.(*http.Transport).IdleConnTimeout, newServer(nil).IdleTimeout
	if ours <= theirs {
		t.Errorf("the server hangs up after %s, API servers after %s", ours, theirs)
	}
}
