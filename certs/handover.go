package certs

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
)

// A CA may be replaced without notice: its Secret is deleted, damaged or restored from a backup. Then the API server is
// told to trust both CAs, the replicas go over to the new one, and only then the old one is trusted no longer.
const (
	// settleTime is how long after a CA was published a replica serves what it signed. Until then an API server may not
	// have heard of it.
	settleTime = 5 * time.Second

	// farewellTime is how long a CA that was replaced without notice stays published: well over settleTime.
	farewellTime = 30 * time.Second
)

// trust is what the webhooks of a configuration trust, one by one.
type trust [][]*x509.Certificate

func trustOf(config *admissionregistrationv1.MutatingWebhookConfiguration) trust {
	var t trust
	for i := range config.Webhooks {
		// Somebody may have edited it: what cannot be read is not trusted.
		cas, _ := parseBundle(config.Webhooks[i].ClientConfig.CABundle)
		t = append(t, cas)
	}
	return t
}

// has says whether all webhooks trust a CA.
func (t trust) has(ca *x509.Certificate) bool {
	return !slices.ContainsFunc(t, func(cas []*x509.Certificate) bool { return !slices.ContainsFunc(cas, ca.Equal) })
}

// accepts says whether any webhook accepts the leaf now.
func (t trust) accepts(leaf *tls.Certificate, now time.Time) bool {
	return slices.ContainsFunc(t, func(cas []*x509.Certificate) bool { return verifies(leaf, cas, now) })
}

// handover is a replica's memory of when it saw first that the CA which signs is published. The zero value is ready.
type handover struct {
	ca    *x509.Certificate
	since time.Time
}

// wait is how long a replica whose certificate is due goes on serving it: until the CA that signs the next one has been
// published for a while. It does not wait if it has no certificate, or one that is of no use.
func (h *handover) wait(leaf *tls.Certificate, a *authority, published trust, now time.Time) time.Duration {
	if leaf == nil || !published.accepts(leaf, now) {
		return 0
	}
	if !published.has(a.ca) {
		h.ca = nil
		return settleTime // its being published is an event, too
	}
	if h.ca == nil || !h.ca.Equal(a.ca) {
		h.ca, h.since = a.ca, now
	}
	return max(0, h.since.Add(settleTime).Sub(now))
}

// farewell is the publisher's memory of since when CAs are published that the authority no longer trusts, by their
// content. The zero value is ready; a new leader begins to count once more.
type farewell struct {
	since map[string]time.Time
}

// staying are the published CAs that the authority does not trust and that stay for now, and when the first of them
// goes; zero if there are none.
func (f *farewell) staying(published trust, a *authority, now time.Time) (stay []*x509.Certificate, until time.Time) {
	since := map[string]time.Time{}
	for _, ca := range slices.Concat(published...) {
		if slices.ContainsFunc(a.trusted, ca.Equal) || slices.ContainsFunc(stay, ca.Equal) || !now.Before(ca.NotAfter) {
			continue
		}
		first, known := f.since[string(ca.Raw)]
		if !known {
			first = now
		}
		since[string(ca.Raw)] = first
		end := first.Add(farewellTime)
		if !now.Before(end) {
			continue
		}
		stay = append(stay, ca)
		if until.IsZero() || end.Before(until) {
			until = end
		}
	}
	f.since = since
	return stay, until
}

// verifies says whether a client that trusts some CAs accepts the leaf now.
func verifies(leaf *tls.Certificate, cas []*x509.Certificate, now time.Time) bool {
	roots := x509.NewCertPool()
	for _, ca := range cas {
		roots.AddCert(ca)
	}
	_, err := leaf.Leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now})
	return err == nil
}

// encodeBundle is CAs as PEM, the form of a caBundle.
func encodeBundle(cas []*x509.Certificate) []byte {
	var bundle []byte
	for _, ca := range cas {
		bundle = append(bundle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw})...)
	}
	return bundle
}

// parseBundle reads what encodeBundle wrote. With an error it returns those before the one that is damaged.
func parseBundle(bundle []byte) ([]*x509.Certificate, error) {
	var cas []*x509.Certificate
	for {
		var block *pem.Block
		if block, bundle = pem.Decode(bundle); block == nil {
			return cas, nil
		}
		ca, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return cas, fmt.Errorf("reading the trusted CAs: %w", err)
		}
		cas = append(cas, ca)
	}
}
