// Package places keeps what goes on at the same time few: in all, and for each name. So one name leaves places to the others.
package places

import (
	"context"
	"slices"
	"sync"
)

// Share is a name, and how many places it has at most.
type Share struct {
	Name string
	Most int
}

// Places are those where something goes on. Its methods may be called from any goroutine.
type Places struct {
	mu      sync.Mutex
	free    int
	taken   map[string]int
	waiting []*waiter
}

type waiter struct {
	shares []Share
	has    chan struct{} // closed when it has its place
}

// New are so many places.
func New(all int) *Places { return &Places{free: all, taken: map[string]int{}} }

// Enter waits for a place, and takes it from the share of each name at the same time: who waits holds nothing. Where several wait,
// it goes to one whose first name has the fewest. The caller leaves when it is done; an error is that of ctx.
func (p *Places) Enter(ctx context.Context, shares ...Share) (leave func(), err error) {
	p.mu.Lock()
	w := &waiter{shares, make(chan struct{})}
	p.waiting = append(p.waiting, w)
	p.admit()
	p.mu.Unlock()
	leave = func() { p.leave(shares) }
	select {
	case <-w.has:
		return leave, nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	at := slices.Index(p.waiting, w)
	if at >= 0 {
		p.waiting = slices.Delete(p.waiting, at, at+1)
	}
	p.mu.Unlock()
	if at < 0 {
		leave() // it came at the same time
	}
	return nil, ctx.Err()
}

func (p *Places) leave(shares []Share) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free++
	for _, s := range shares {
		if p.taken[s.Name]--; p.taken[s.Name] == 0 {
			delete(p.taken, s.Name)
		}
	}
	p.admit()
}

// admit gives the free places to those who wait.
func (p *Places) admit() {
	for p.free > 0 {
		next := -1
		for i, w := range p.waiting {
			if p.fits(w) && (next < 0 || p.taken[w.shares[0].Name] < p.taken[p.waiting[next].shares[0].Name]) {
				next = i
			}
		}
		if next < 0 {
			return
		}
		w := p.waiting[next]
		p.waiting = slices.Delete(p.waiting, next, next+1)
		p.free--
		for _, s := range w.shares {
			p.taken[s.Name]++
		}
		close(w.has)
	}
}

func (p *Places) fits(w *waiter) bool {
	return !slices.ContainsFunc(w.shares, func(s Share) bool { return p.taken[s.Name] >= s.Most })
}

// Len is how many names have places.
func (p *Places) Len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.taken)
}
