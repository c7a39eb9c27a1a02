package digest

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

const (
	// maxAnswer bounds what is read of an answer, in bytes. Manifests have some kilobytes.
	maxAnswer = 4 << 20

	// defaultRest is how long a registry is left alone that is asked too much and does not say for how long, and maxRest
	// is the longest that it can ask for.
	defaultRest = time.Minute
	maxRest     = 24 * time.Hour

	// silentRest is how long a registry is left alone that does not answer.
	silentRest = callTime
)

// watch is the transport of one call. It sees what every answer has to say about further calls, and bounds its size.
type watch struct {
	next     http.RoundTripper
	answered atomic.Bool
	asked    atomic.Int64 // the rest that was asked for
}

func (w *watch) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := w.next.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	w.answered.Store(true)
	after := response.Header.Get("Retry-After")
	if response.StatusCode == http.StatusTooManyRequests || response.StatusCode == http.StatusServiceUnavailable && after != "" {
		w.asked.Store(int64(restOf(after, time.Now())))
	}
	response.Body = &bounded{ReadCloser: response.Body, left: maxAnswer}
	return response, nil
}

// rest is for how long the registry has to be left alone after a call.
func (w *watch) rest(err, ended error) time.Duration {
	if asked := w.asked.Load(); asked > 0 {
		return time.Duration(asked)
	}
	if err != nil && (!w.answered.Load() || errors.Is(ended, context.DeadlineExceeded)) {
		return silentRest
	}
	return 0
}

// restOf reads a Retry-After header: seconds, or a time.
func restOf(header string, now time.Time) time.Duration {
	rest := defaultRest
	if seconds, err := strconv.ParseUint(header, 10, 31); err == nil {
		rest = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(header); err == nil {
		rest = at.Sub(now)
	}
	return min(max(rest, time.Second), maxRest)
}

// finding is an error in words of our own.
type finding string

func (f finding) Error() string { return string(f) }

const (
	errTooLarge = finding("the answer is too large")
	errNotClear = finding("the registry's answer is not understood")
	errClosed   = finding("the connection was closed")
)

// bounded is a body that may not be longer than what is left.
type bounded struct {
	io.ReadCloser
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errTooLarge
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

// statusError is an answer that is none. It leaves out the words of the registry, which may repeat what it was sent.
type statusError int

func (e statusError) Error() string {
	return fmt.Sprintf("the registry answers %d %s", int(e), cmp.Or(http.StatusText(int(e)), "(unknown status)"))
}

// statusOf is the HTTP status of an error, 0 if it has none.
func statusOf(err error) int {
	var status statusError
	if errors.As(err, &status) {
		return int(status)
	}
	var answer *transport.Error
	if errors.As(err, &answer) {
		return answer.StatusCode
	}
	return 0
}

// refused tells whether the registry said no: another credential may change that, and asking again soon does not.
func refused(err error) bool {
	status := statusOf(err)
	return status == http.StatusUnauthorized || status == http.StatusForbidden || status == http.StatusNotFound
}

// inWords is an error without anything that may contain a credential: the libraries quote URLs, headers and bodies. The
// second error is how the time for the call ended.
func inWords(err, ended error) error {
	var own finding
	var dial *net.OpError
	var certificate *tls.CertificateVerificationError
	switch {
	case err == nil:
		return nil
	case errors.Is(ended, context.DeadlineExceeded):
		return fmt.Errorf("no answer within %v", callTime)
	case statusOf(err) != 0:
		return statusError(statusOf(err))
	case errors.As(err, &own):
		return own
	case errors.As(err, &dial):
		return dial
	case errors.As(err, &certificate):
		return certificate
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return errClosed
	default:
		return errNotClear
	}
}
