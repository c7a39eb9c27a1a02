package webhook

import (
	"slices"
	"sync"

	"github.com/kube-prepull/kube-prepull/api/fair"
)

// room bounds the memory of the bodies that are read at a time. When it is full, the client that has the most of it gives
// way to one that has less. So those who send slowly, or much, keep nobody out but themselves.
type room struct {
	mu   sync.Mutex
	free int64
	held fair.Shares // bytes by client
	// reading are those that can be told to leave, the oldest first.
	reading []*guest
}

// guest is one body in a room.
type guest struct {
	client string
	size   int64
	// leave ends the reading. It must not block.
	leave func()
	gone  bool
}

func newRoom(bytes int64) *room { return &room{free: bytes, held: fair.Shares{}} }

// enter takes room for a body, nil if there is none.
func (r *room) enter(client string, size int64, leave func()) *guest {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.free < size {
		g := r.largest()
		if g == nil || !r.held.GivesWay(g.client, client, size) {
			return nil
		}
		r.free += g.size
		r.forget(g)
		g.leave()
	}
	g := &guest{client: client, size: size, leave: leave}
	r.free -= size
	r.held.Add(client, size)
	r.reading = append(r.reading, g)
	return g
}

// settle makes a guest, whose body is read, one that stays until it exits.
func (r *room) settle(g *guest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reading = slices.DeleteFunc(r.reading, func(other *guest) bool { return other == g })
}

// exit gives the room back.
func (r *room) exit(g *guest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !g.gone {
		r.free += g.size
		r.forget(g)
	}
}

// largest is the oldest guest, of those that can be told to leave, of the client that has the most.
func (r *room) largest() (found *guest) {
	for _, g := range r.reading {
		if found == nil || r.held[g.client] > r.held[found.client] {
			found = g
		}
	}
	return found
}

// forget takes a guest off the books.
func (r *room) forget(g *guest) {
	g.gone = true
	r.held.Add(g.client, -g.size)
	r.reading = slices.DeleteFunc(r.reading, func(other *guest) bool { return other == g })
}
