package main

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kube-prepull/kube-prepull/api/fair"
)

// fairListener bounds how many connections are open at a time. One more closes another: of the client that has the most,
// the one that has been quiet longest. So who opens many loses his own, and nobody else's.
type fairListener struct {
	net.Listener
	limit int
	used  atomic.Int64 // see uses

	mu   sync.Mutex
	open map[*fairConn]struct{}
	of   fair.Shares // connections by client
}

// fairConn is a connection of a fairListener.
type fairConn struct {
	net.Conn
	listener *fairListener
	client   string       // an IP address
	used     atomic.Int64 // when it was last read from or written to, in nanoseconds
}

// listenFairly listens on a TCP address, for so many connections at a time.
func listenFairly(address string, limit int) (*fairListener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	return &fairListener{Listener: l, limit: limit, open: map[*fairConn]struct{}{}, of: fair.Shares{}}, nil
}

// Accept counts the connection from here on: what is yet to come of it, a TLS handshake to begin with, may never end.
func (l *fairListener) Accept() (net.Conn, error) {
	inner, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &fairConn{Conn: inner, listener: l, client: hostOf(inner.RemoteAddr().String())}
	c.touch()
	if one := l.add(c); one != nil {
		_ = one.Close() // its server sees to the rest
	}
	return c, nil
}

// hostOf an address with a port.
func hostOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}

// add counts a connection and returns the one that has to go for it, if there are too many.
func (l *fairListener) add(c *fairConn) (one *fairConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open[c] = struct{}{}
	l.of.Add(c.client, 1)
	if len(l.open) <= l.limit {
		return nil
	}
	for other := range l.open {
		if one == nil || other.goesBefore(one) {
			one = other
		}
	}
	return one
}

// goesBefore says which of two connections is closed. The listener is locked.
func (c *fairConn) goesBefore(other *fairConn) bool {
	if has, others := c.listener.of[c.client], c.listener.of[other.client]; has != others {
		return has > others
	}
	return c.used.Load() < other.used.Load()
}

func (c *fairConn) touch() {
	c.used.Store(time.Now().UnixNano())
	c.listener.used.Add(1)
}

// uses is how often a connection was opened, read from or written to.
func (l *fairListener) uses() int64 { return l.used.Load() }

func (c *fairConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.touch()
	return n, err
}

func (c *fairConn) Write(p []byte) (int, error) {
	c.touch()
	return c.Conn.Write(p)
}

// Close may be called more than once.
func (c *fairConn) Close() error {
	l := c.listener
	l.mu.Lock()
	if _, counted := l.open[c]; counted {
		delete(l.open, c)
		l.of.Add(c.client, -1)
	}
	l.mu.Unlock()
	return c.Conn.Close()
}
