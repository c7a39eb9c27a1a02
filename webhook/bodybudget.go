package webhook

import (
	"slices"
	"sync"

	"github.com/kube-prepull/kube-prepull/api/fair"
)

// bodyBudget bounds the memory of the bodies that are read at a time. When it is used up, the client that uses the most of it
// gives way to one that uses less. So those who send slowly, or much, keep nobody out but themselves.
type bodyBudget struct {
	mu   sync.Mutex
	free int64
	used fair.Shares // bytes by client
	// reading are those that can be aborted, the oldest first.
	reading []*reservation
}

// reservation is what one body takes of a budget.
type reservation struct {
	client string
	size   int64
	// abort ends the reading. It must not block.
	abort   func()
	aborted bool
}

func newBodyBudget(bytes int64) *bodyBudget { return &bodyBudget{free: bytes, used: fair.Shares{}} }

// reserve takes memory for a body, nil if there is none. abort ends the reading of it.
func (b *bodyBudget) reserve(client string, size int64, abort func()) *reservation {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.free < size {
		one := b.largest()
		if one == nil || !b.used.GivesWay(one.client, client, size) {
			return nil
		}
		b.free += one.size
		b.forget(one)
		one.abort()
	}
	one := &reservation{client: client, size: size, abort: abort}
	b.free -= size
	b.used.Add(client, size)
	b.reading = append(b.reading, one)
	return one
}

// keep makes a reservation, whose body is read, one that is not aborted any more.
func (b *bodyBudget) keep(one *reservation) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reading = slices.DeleteFunc(b.reading, func(other *reservation) bool { return other == one })
}

// release gives the memory back.
func (b *bodyBudget) release(one *reservation) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !one.aborted {
		b.free += one.size
		b.forget(one)
	}
}

// largest is the oldest reservation, of those that can be aborted, of the client that uses the most.
func (b *bodyBudget) largest() (found *reservation) {
	for _, one := range b.reading {
		if found == nil || b.used[one.client] > b.used[found.client] {
			found = one
		}
	}
	return found
}

// forget no longer counts a reservation.
func (b *bodyBudget) forget(one *reservation) {
	one.aborted = true
	b.used.Add(one.client, -one.size)
	b.reading = slices.DeleteFunc(b.reading, func(other *reservation) bool { return other == one })
}
