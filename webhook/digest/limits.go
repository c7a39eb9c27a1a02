package digest

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"sync"
	"time"
)

const (
	// maxCalls is how many calls go on at the same time.
	maxCalls = 4

	// maxCallsPerRegistry leaves some for the others while one registry is slow.
	maxCallsPerRegistry = 2

	// refusalTime is how long a registry's no is remembered, and maxRefusals how many of them.
	refusalTime = 10 * time.Minute
	maxRefusals = 10_000
)

// RestError says that a registry is not asked for now, because it said so or because it does not answer.
type RestError struct {
	// Registry is its host.
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
}

// host is one registry that is being asked or rests.
type host struct {
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
	// Only now: those that waited behind a call learn from it too.
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
		one = &host{slots: make(chan struct{}, maxCallsPerRegistry)}
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

// part also forgets the registries that nothing is known about.
func (h *hosts) part(one *host, rest time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	one.users--
	if until := now.Add(rest); rest > 0 && until.After(one.rest) {
		one.rest = until
	}
	maps.DeleteFunc(h.byName, func(_ string, o *host) bool { return o.users == 0 && !o.rest.After(now) })
}

// refusals are the questions that a registry answered with no.
type refusals struct {
	mu    sync.Mutex
	known map[[sha256.Size]byte]refusal
}

type refusal struct {
	err   error
	until time.Time
}

// refusalKey tells questions apart: with other credentials it is another one.
func refusalKey(image string, auths [][]byte) [sha256.Size]byte {
	h := sha256.New()
	for _, part := range append([][]byte{[]byte(image)}, auths...) {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		h.Write(part)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// find returns the error of a refusal that still holds, nil if there is none.
func (r *refusals) find(key [sha256.Size]byte, now time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if known, found := r.known[key]; found && now.Before(known.until) {
		return known.err
	}
	return nil
}

// add makes room by forgetting what holds no longer, or else everything.
func (r *refusals) add(key [sha256.Size]byte, err error, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.known) >= maxRefusals {
		maps.DeleteFunc(r.known, func(_ [sha256.Size]byte, old refusal) bool { return !now.Before(old.until) })
	}
	if r.known == nil || len(r.known) >= maxRefusals {
		r.known = map[[sha256.Size]byte]refusal{}
	}
	r.known[key] = refusal{err, now.Add(refusalTime)}
}
