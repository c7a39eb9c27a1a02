package digest

import (
	"context"
	"fmt"
	"time"

	"github.com/kube-prepull/kube-prepull/api/places"
	"github.com/kube-prepull/kube-prepull/webhook/memory"
)

const (
	// maxCalls is how many calls go on at the same time. A burst of admissions wants dozens of answers in a second.
	maxCalls = 24

	// maxCallsOfNamespace leaves some for the others while one namespace asks slow registries.
	maxCallsOfNamespace = 16

	// maxCallsPerRegistry leaves some for the others while one registry is slow.
	maxCallsPerRegistry = 8

	// maxRests is how many rests are remembered; it takes somebody who makes registries or logins up to reach it.
	maxRests = 10_000
)

// RestError says that a registry is not asked for now, because it said so to whoever asks, or because it does not answer.
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
	places *places.Places
	rests  *memory.Memory[key, time.Time]
}

// everybody is who rests where a registry is left alone whoever asks, because it is down.
var everybody = key{}

// rest is how long a registry is left alone, and by whom.
type rest struct {
	of   time.Duration
	whom key
}

func newHosts() hosts {
	return hosts{places: places.New(maxCalls), rests: memory.New[key, time.Time](maxRests)}
}

// enter waits for a place, unless all who ask have to leave the registry alone. The namespace is that of an admission, empty where
// nobody waits for the answer. The caller then leaves, and says who has to from now on.
func (h *hosts) enter(ctx context.Context, name, namespace string, asking []key) (leave func(rest), err error) {
	if free, resting := h.free(name, asking); len(free) == 0 {
		return nil, resting
	}
	part, err := h.places.Enter(ctx, places.Share{Name: "namespace/" + namespace, Most: maxCallsOfNamespace}, places.Share{Name: name, Most: maxCallsPerRegistry})
	if err != nil {
		return nil, err
	}
	leave = func(r rest) {
		h.leaveAlone(name, r)
		part()
	}
	// Once more: those that waited behind a call learn from it too.
	if free, resting := h.free(name, asking); len(free) == 0 {
		leave(rest{})
		return nil, resting
	}
	return leave, nil
}

// free are the places among those who ask of those who may; if others may not, the error tells when the first of them may.
func (h *hosts) free(name string, asking []key) (free []int, resting *RestError) {
	for i, who := range asking {
		until := h.restOf(name, who)
		if until.IsZero() {
			free = append(free, i)
		} else if resting == nil || until.Before(resting.until) {
			resting = &RestError{Registry: name, until: until}
		}
	}
	return free, resting
}

// restOf is until when somebody leaves a registry alone, zero if it may be asked.
func (h *hosts) restOf(name string, who key) time.Time {
	own, _ := h.rests.Find(restKey(name, who))
	all, _ := h.rests.Find(restKey(name, everybody))
	if all.After(own) {
		return all
	}
	return own
}

// leaveAlone never makes a rest shorter.
func (h *hosts) leaveAlone(name string, r rest) {
	if until := time.Now().Add(r.of); r.of > 0 && until.After(h.restOf(name, r.whom)) {
		h.rests.Add(restKey(name, r.whom), until, until)
	}
}

func restKey(name string, who key) key { return keyOf(name, string(who[:])) }
