package certs

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"
)

// serving is the certificate that this replica serves.
type serving struct {
	now     func() time.Time
	leaf    atomic.Pointer[tls.Certificate]
	waiting atomic.Pointer[string] // for what, if there is none
}

// GetCertificate is for tls.Config. It fails as long as there is no certificate.
func (s *serving) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	leaf := s.leaf.Load()
	if leaf == nil {
		return nil, errors.New("no serving certificate yet")
	}
	return leaf, nil
}

// Ready is a health check: it passes while there is a certificate that has not expired.
func (s *serving) Ready(*http.Request) error {
	certificate, err := s.GetCertificate(nil)
	if err != nil {
		if waiting := s.waiting.Load(); waiting != nil {
			return fmt.Errorf("%w: waiting for %s", err, *waiting)
		}
		return err
	}
	if expiry := certificate.Leaf.NotAfter; !s.now().Before(expiry) {
		return fmt.Errorf("the serving certificate expired at %s", expiry.Format(time.RFC3339))
	}
	return nil
}
