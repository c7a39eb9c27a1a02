package main

import (
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"testing"
	"time"
)

// line is a client's end of a connection and the server's.
type line struct{ client, server net.Conn }

// connect opens a connection to a listener from an address of this machine.
func connect(t *testing.T, l net.Listener, from string) line {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	client, err := dialer.DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	return line{client, server}
}

// use sends a byte to the server.
func (l line) use(t *testing.T) {
	t.Helper()
	if _, err := l.client.Write([]byte{1}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(l.server, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
}

// closed says whether the server has hung up.
func (l line) closed(t *testing.T) bool {
	t.Helper()
	if err := l.client.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	_, err := l.client.Read(make([]byte, 1))
	return !errors.Is(err, os.ErrDeadlineExceeded)
}

func fairly(t *testing.T, limit int) net.Listener {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("SKIPPED: other addresses than 127.0.0.1 are Linux's")
	}
	l, err := listenFairly("127.0.0.1:0", limit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func wantClosed(t *testing.T, want map[string]bool, lines map[string]line) {
	t.Helper()
	for name, l := range lines {
		if got := l.closed(t); got != want[name] {
			t.Errorf("%s is closed: %t, want %t", name, got, want[name])
		}
	}
}

func TestWhoHasMostConnectionsLosesTheQuietest(t *testing.T) {
	t.Parallel()
	l := fairly(t, 4)
	lines := map[string]line{"api": connect(t, l, "127.0.0.2")} // the oldest, and quiet
	for _, name := range []string{"first", "second", "third"} {
		lines[name] = connect(t, l, "127.0.0.3")
	}
	lines["first"].use(t)
	wantClosed(t, nil, lines)
	lines["other"] = connect(t, l, "127.0.0.4")
	wantClosed(t, map[string]bool{"second": true}, lines)
	lines["more"] = connect(t, l, "127.0.0.3")
	wantClosed(t, map[string]bool{"second": true, "third": true}, lines)
}

func TestAClosedConnectionLeavesItsPlace(t *testing.T) {
	t.Parallel()
	l := fairly(t, 2)
	lines := map[string]line{"first": connect(t, l, "127.0.0.2"), "second": connect(t, l, "127.0.0.2")}
	for range 2 { // net/http does so
		lines["second"].server.Close()
	}
	lines["third"] = connect(t, l, "127.0.0.2")
	wantClosed(t, map[string]bool{"second": true}, lines)
	lines["third"].server.Close()
	lines["first"].server.Close()
	if f := l.(*fairListener); len(f.open) > 0 || len(f.of) > 0 {
		t.Errorf("%d connections of %v are counted, want none", len(f.open), f.of)
	}
}

func TestAnAddressThatCannotBeListenedAt(t *testing.T) {
	t.Parallel()
	if _, err := listenFairly("nowhere", 1); err == nil {
		t.Error("no error")
	}
}
