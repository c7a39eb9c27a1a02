package digest

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
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
	maxAnswer = 1 << 20

	// maxManifests is how many bytes the manifests may have that are read at the same time.
	maxManifests = 4 << 20

	// defaultRest is how long a registry is left alone by who asked too much if it does not say for how long, and maxRest
	// is the longest that it can ask for.
	defaultRest = time.Minute
	maxRest     = 24 * time.Hour

	// silentRest is how long a registry is left alone that does not answer.
	silentRest = callTime
)

// watch hears what every answer of one call has to say about further calls. It goes with the context of the requests,
// because a session outlives the call.
type watch struct {
	answered atomic.Bool
	asked    atomic.Int64 // the rest that was asked for
	down     atomic.Bool  // whoever asks
}

type watchKey struct{}

func (w *watch) see(response *http.Response) {
	w.answered.Store(true)
	after := response.Header.Get("Retry-After")
	if response.StatusCode == http.StatusTooManyRequests || response.StatusCode == http.StatusServiceUnavailable && after != "" {
		w.asked.Store(int64(restOf(after, time.Now())))
		w.down.Store(response.StatusCode == http.StatusServiceUnavailable)
	}
}

// rest is for how long the registry has to be left alone after a call: by who asked too much, or by everybody if it is down.
func (w *watch) rest(who key, err error, late bool) rest {
	if asked := time.Duration(w.asked.Load()); asked > 0 && !w.down.Load() {
		return rest{asked, who}
	} else if asked > 0 {
		return rest{asked, everybody}
	}
	if err != nil && (late || !w.answered.Load()) {
		return rest{silentRest, everybody}
	}
	return rest{}
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
	errNotClear = finding("the answer is not understood")
	errClosed   = finding("the connection was closed")
	errInside   = finding("it leads to a private address, which was refused")
	errBusy     = finding("too many questions are before this one")
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
type statusError struct {
	registry string
	status   int
}

func (e *statusError) Error() string {
	return fmt.Sprintf("%s answers %d %s", e.registry, e.status, cmp.Or(http.StatusText(e.status), "(unknown status)"))
}

// statusOf is the HTTP status of an error, 0 if it has none.
func statusOf(err error) int {
	var status *statusError
	if errors.As(err, &status) {
		return status.status
	}
	var answer *transport.Error
	if errors.As(err, &answer) {
		return answer.StatusCode
	}
	return 0
}

// Refused tells whether the registry said no: another credential may change that, and asking again soon does not.
func Refused(err error) bool {
	status := statusOf(err)
	return status == http.StatusUnauthorized || status == http.StatusForbidden || status == http.StatusNotFound
}

// inWords is an error that can be shown to anybody, without anything that may contain a credential: the libraries quote
// URLs, headers and bodies.
func inWords(registry string, err error) error {
	var own finding
	var dial *net.OpError
	var certificate *tls.CertificateVerificationError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &certificate): // before the answer to plain HTTP that was tried next
		return fmt.Errorf("%s: %w", registry, certificateWords(certificate))
	case statusOf(err) != 0:
		return &statusError{registry, statusOf(err)}
	case errors.As(err, &own):
		return fmt.Errorf("%s: %w", registry, own)
	case errors.As(err, &dial):
		return fmt.Errorf("%s: %w", registry, dial.Err) // without the addresses of this pod and of what the name stands for
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%s: %w", registry, errClosed)
	default:
		return fmt.Errorf("%s: %w", registry, errNotClear)
	}
}

// certificateWords leaves out what a certificate says, which can be long.
func certificateWords(err error) finding {
	var host x509.HostnameError
	var authority x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &host):
		return "its certificate is for other hosts"
	case errors.As(err, &authority):
		return "its certificate is of an unknown authority"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "its certificate has expired or is not yet valid"
	default:
		return "its certificate is not valid"
	}
}
