package digest

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"
)

const (
	// maxCalls is how many calls go on at the same time. A burst of admissions wants dozens of answers in a second.
	maxCalls = 16

	// maxCallsPerRegistry leaves some for the others while one registry is slow.
	maxCallsPerRegistry = 8

	// maxHosts is how many registries are remembered that rest; it takes somebody who makes them up to reach it.
	maxHosts = 10_000
)

// RestError says that a registry is not asked for now, because it said so or because it does not answer.
type RestError struct {
	// Registry is its host as images name it.
	Registry string
	until    time.Time
}

// Error names the registry and the time.
func (e *RestError) Error() string {
	return fmt.Sprintf("%s is left alone until %s", e.Registry, e.until.UTC().Format(time.RFC3339))
}

// Until is when the registry may be asked again.
func (e *RestError) Until() time.Time { return e.until }

// hosts keep the calls to registries few.
type hosts struct {
	slots chan struct{}

	mu     sync.Mutex
	byName map[string]*host
	sweep  time.Time // when those whose rest is over are forgotten next
}

// host is one registry that is being asked or rests.
type host struct {
	name  string
	slots chan struct{}
	users int
	rest  time.Time
}

func newHosts() hosts {
	return hosts{slots: make(chan struct{}, maxCalls), byName: map[string]*host{}}
}

// enter waits for a place. The caller then leaves, and says for how long the registry has to rest.
func (h *hosts) enter(ctx context.Context, name string) (leave func(rest time.Duration), err error) {
	one := h.join(name)
	if until := h.restOf(one); until.After(time.Now()) {
		h.part(one, 0)
		return nil, &RestError{Registry: name, until: until}
	}
	places := []chan struct{}{one.slots, h.slots}
	for i, place := range places {
		select {
		case place <- struct{}{}:
			continue
		case <-ctx.Done():
		}
		for _, taken := range places[:i] {
			<-taken
		}
		h.part(one, 0)
		return nil, ctx.Err()
	}
	leave = func(rest time.Duration) {
		h.part(one, rest)
		<-h.slots
		<-one.slots
	}
	// Once more: those that waited behind a call learn from it too.
	if until := h.restOf(one); until.After(time.Now()) {
		leave(0)
		return nil, &RestError{Registry: name, until: until}
	}
	return leave, nil
}

func (h *hosts) join(name string) *host {
	h.mu.Lock()
	defer h.mu.Unlock()
	one := h.byName[name]
	if one == nil {
		one = &host{name: name, slots: make(chan struct{}, maxCallsPerRegistry)}
		h.byName[name] = one
	}
	one.users++
	return one
}

func (h *hosts) restOf(one *host) time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return one.rest
}

// part also forgets the registry if nothing is known about it, and now and then those whose rest is over.
func (h *hosts) part(one *host, rest time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	one.users--
	if until := now.Add(rest); rest > 0 && until.After(one.rest) {
		one.rest = until
	}
	if one.users == 0 && !one.rest.After(now) {
		delete(h.byName, one.name)
	}
	if full := len(h.byName) > maxHosts; full || now.After(h.sweep) {
		maps.DeleteFunc(h.byName, func(_ string, o *host) bool { return o.users == 0 && (full || !o.rest.After(now)) })
		h.sweep = now.Add(time.Minute)
	}
}
