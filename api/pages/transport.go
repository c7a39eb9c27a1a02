// Package pages reads objects and lists whose size others decide: what tenants make, of which each may have more than a megabyte. What
// is in memory of it is bounded by bytes, and not by its number.
package pages

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/kube-prepull/kube-prepull/api/places"
)

const (
	// maxBytes of an answer are read. An object has 1.5 MiB at most where etcd has its defaults. Decoded, it may take ten times as
	// much.
	maxBytes = 2 << 20

	// maxLists are read at the same time, one of a namespace, and maxObjects, of which maxObjectsOf are of one namespace.
	maxLists     = 3
	maxListsOf   = 1
	maxAwaited   = 2 // lists that an admission waits for, also one of a namespace
	maxObjects   = 8
	maxObjectsOf = 4
)

// ErrTooLarge is that of a list or an object which has more bytes than are read.
var ErrTooLarge = errors.New("the answer is too large")

// reading is a list or an object on its way, from the request until it is decoded.
type reading struct {
	list      bool
	namespace string
	leave     func()
}

func (r *reading) end() {
	if r.leave != nil {
		r.leave()
	}
}

type readingKey struct{}

type awaitedKey struct{}

// Awaited marks what is read while an admission waits for it. Its lists have places of their own, which nothing else takes.
func Awaited(ctx context.Context) context.Context { return context.WithValue(ctx, awaitedKey{}, true) }

// Bound is a transport for clients that read with this package. It leaves other requests alone.
func Bound(next http.RoundTripper) http.RoundTripper {
	return bound{next, places.New(maxLists), places.New(maxAwaited), places.New(maxObjects)}
}

type bound struct {
	next                    http.RoundTripper
	lists, awaited, objects *places.Places
}

// enter waits for a place.
func (b bound) enter(ctx context.Context, r *reading) (leave func(), err error) {
	switch {
	case r.list && ctx.Value(awaitedKey{}) != nil:
		return b.awaited.Enter(ctx, places.Share{Name: r.namespace, Most: maxListsOf})
	case r.list:
		return b.lists.Enter(ctx, places.Share{Name: r.namespace, Most: maxListsOf})
	}
	return b.objects.Enter(ctx, places.Share{Name: r.namespace, Most: maxObjectsOf})
}

// RoundTrip waits for a place, and reads the whole answer if it is small enough.
func (b bound) RoundTrip(request *http.Request) (*http.Response, error) {
	r, ours := request.Context().Value(readingKey{}).(*reading)
	if !ours {
		return b.next.RoundTrip(request)
	}
	if r.leave == nil {
		leave, err := b.enter(request.Context(), r)
		if err != nil {
			return nil, err
		}
		r.leave = leave
	}
	response, err := b.next.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	var body bytes.Buffer
	if _, err := io.Copy(&body, io.LimitReader(response.Body, maxBytes+1)); err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	if body.Len() > maxBytes {
		return nil, ErrTooLarge
	}
	response.Body = io.NopCloser(&body)
	return response, nil
}

// WrappedRoundTripper lets client-go find the transport below.
func (b bound) WrappedRoundTripper() http.RoundTripper { return b.next }
