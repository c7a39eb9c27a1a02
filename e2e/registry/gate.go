package registry

import (
	"net"
	"sync"
)

// gate stands between the network and the Registry, and can be shut. The listeners stay, because another process might
// take their port.
type gate struct {
	mu    sync.Mutex
	shut  bool
	conns map[net.Conn]struct{}
}

// SetDown cuts the Registry off: every connection is reset, and new ones are reset at once. SetDown(false) brings it
// back.
func (r *Registry) SetDown(down bool) {
	r.gate.mu.Lock()
	defer r.gate.mu.Unlock()
	r.gate.shut = down
	if !down {
		return
	}
	for c := range r.gate.conns {
		reset(c)
	}
	clear(r.gate.conns)
}

// guard returns a listener that hands out connections while the gate is open.
func (g *gate) guard(l net.Listener) net.Listener { return guarded{l, g} }

type guarded struct {
	net.Listener
	gate *gate
}

// Accept waits for a connection and an open gate.
func (g guarded) Accept() (net.Conn, error) {
	for {
		c, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if g.gate.admit(c) {
			return tracked{c, g.gate}, nil
		}
		reset(c)
	}
}

func (g *gate) admit(c net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut {
		return false
	}
	if g.conns == nil {
		g.conns = map[net.Conn]struct{}{}
	}
	g.conns[c] = struct{}{}
	return true
}

// tracked is a connection that the gate knows until it is closed.
type tracked struct {
	net.Conn
	gate *gate
}

// Close closes the connection.
func (t tracked) Close() error {
	t.gate.mu.Lock()
	delete(t.gate.conns, t.Conn)
	t.gate.mu.Unlock()
	return t.Conn.Close()
}

// reset closes a connection as a host does on which nothing listens.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}
