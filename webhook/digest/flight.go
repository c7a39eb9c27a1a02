package digest

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/go-logr/logr"
)

// flight is one question on its way, and then its answer.
type flight struct {
	namespace string
	question  key
	start     time.Time
	done      chan struct{}

	// What follows is for those who wait until it is done.
	digest string
	err    error
	end    time.Time
	shared bool // the answer is that of an equal question of another namespace
}

// own tells the questions of namespaces apart.
func (f *flight) own() key { return keyOf(f.namespace, string(f.question[:])) }

// result is how a flight ended for whoever started it.
func (f *flight) result() result {
	switch {
	case f.shared:
		return joined
	case f.err == nil:
		return resolved
	default:
		return resultOf(f.err)
	}
}

// board finds the flight of a question, or starts one. A remembered answer is that of a flight that has landed. The flight of
// another namespace is boarded once it has its turn, and not while it waits for that one's.
func (r *Resolver) board(ctx context.Context, namespace string, t *target, fresh bool) (*flight, result, error) {
	f := &flight{namespace: namespace, question: t.key(), start: time.Now(), done: make(chan struct{})}
	r.mu.Lock()
	defer r.mu.Unlock()
	if before, found := r.known.Find(f.question); found && !fresh {
		return before, remembered, nil
	}
	if other, found := r.calls[f.question]; found {
		return other, joined, nil
	}
	if other, found := r.flights[f.own()]; found {
		return other, joined, nil
	}
	if ctx.Err() != nil {
		return nil, failed, ctx.Err()
	}
	if len(r.flights) >= maxFlights || r.asking[namespace] >= maxFlightsOf {
		return nil, failed, finding("too many questions to registries at the same time")
	}
	r.flights[f.own()] = f
	r.asking[namespace]++
	go func() {
		defer r.land(f)
		r.fly(context.WithoutCancel(ctx), t, f)
	}()
	return f, resolved, nil
}

// fly waits for its turn and asks, whatever becomes of the callers. A panic must not end the process: nobody is there to recover it.
func (r *Resolver) fly(ctx context.Context, t *target, f *flight) {
	defer func() {
		if p := recover(); p != nil {
			f.digest, f.err = "", fmt.Errorf("%s: %w", t.host(), errNotClear)
			logr.FromContextOrDiscard(ctx).Error(fmt.Errorf("panic: %v", p), "asking a registry failed", "registry", t.host(), "stack", string(debug.Stack()))
		}
	}()
	leave, err := r.registries.turn(ctx, f.namespace, t, r.time)
	if err != nil {
		f.err = err
		return
	}
	if other := r.takeOff(f); other != nil {
		leave(rest{})
		<-other.done
		f.digest, f.err, f.shared = other.digest, other.err, true
		return
	}
	f.digest, f.err = r.registries.resolve(ctx, t, r.time, leave)
}

// takeOff returns the flight that has the turn for the same question, or had it while this one waited; nil if this one has it now.
func (r *Resolver) takeOff(f *flight) *flight {
	r.mu.Lock()
	defer r.mu.Unlock()
	if other, found := r.calls[f.question]; found {
		return other
	}
	if before, found := r.known.Find(f.question); found && before.end.After(f.start) {
		return before
	}
	r.calls[f.question] = f
	return nil
}

func (r *Resolver) land(f *flight) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f.end = time.Now()
	delete(r.flights, f.own())
	if r.calls[f.question] == f {
		delete(r.calls, f.question)
	}
	if r.asking[f.namespace]--; r.asking[f.namespace] == 0 {
		delete(r.asking, f.namespace)
	}
	switch {
	case f.shared: // it is remembered as the other one's
	case f.err == nil:
		r.known.Add(f.question, f, f.end.Add(answerTime))
	case Refused(f.err):
		r.known.Add(f.question, f, f.end.Add(noTime))
	}
	close(f.done)
}

// turn waits for a place, without the memory for questions that nobody waits for.
func (r *Registries) turn(ctx context.Context, namespace string, t *target, limit time.Duration) (leave func(rest), err error) {
	waiting, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	leave, err = r.hosts.enter(waiting, t.host(), namespace, t.asking())
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, fmt.Errorf("%s: %w", t.host(), errBusy)
	}
	return leave, err
}

// resolve asks in a place, and leaves it.
func (r *Registries) resolve(ctx context.Context, t *target, limit time.Duration, leave func(rest)) (digest string, err error) {
	err = r.call(ctx, t, limit, leave, func(ctx context.Context, s *session, identifier string) (err error) {
		digest, err = s.digest(ctx, identifier)
		return err
	})
	return digest, err
}

func resultOf(err error) result {
	var rest *RestError
	switch {
	case Refused(err):
		return refused
	case errors.As(err, &rest):
		return resting
	default:
		return failed
	}
}
