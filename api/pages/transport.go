// Package pages reads lists whose size others decide: of objects that tenants make, of which each may have more than a megabyte. What
// is in memory of them is bounded by bytes, and not by their number.
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

	// maxLists are read at the same time, of which maxOfNamespace are of one namespace.
	maxLists       = 3
	maxOfNamespace = 1
)

// ErrTooLarge is that of a list which has more bytes than are read.
var ErrTooLarge = errors.New("the list is too large")

// reading is a list on its way, from the request until it is decoded.
type reading struct {
	namespace string
	leave     func()
}

type readingKey struct{}

// Bound is a transport for clients that lists are read with. It bounds those that this package reads, and leaves other
// requests alone.
func Bound(next http.RoundTripper) http.RoundTripper {
	return bound{next, places.New(maxLists)}
}

type bound struct {
	next   http.RoundTripper
	places *places.Places
}

// RoundTrip waits for a place, and reads the whole answer if it is small enough.
func (b bound) RoundTrip(request *http.Request) (*http.Response, error) {
	r, ours := request.Context().Value(readingKey{}).(*reading)
	if !ours {
		return b.next.RoundTrip(request)
	}
	if r.leave == nil {
		leave, err := b.places.Enter(request.Context(), places.Share{Name: r.namespace, Most: maxOfNamespace})
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

// begin marks the requests of a context as those of a list. The function that it returns gives the place back.
func begin(ctx context.Context, namespace string) (context.Context, func()) {
	r := &reading{namespace: namespace}
	return context.WithValue(ctx, readingKey{}, r), func() {
		if r.leave != nil {
			r.leave()
		}
	}
}
