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

// A CA may be replaced without notice: its Secret is deleted, damaged or restored from a backup, or certificates come from
// elsewhere now. Then the API server is told to trust both CAs, the replicas go over to the new one, and only then the
// old one is trusted no longer.

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

// everywhere says whether all webhooks accept the leaf now.
func (t trust) everywhere(leaf *tls.Certificate, now time.Time) bool {
	return !slices.ContainsFunc(t, func(cas []*x509.Certificate) bool { return !verifies(leaf, cas, now) })
}

// handover is a replica's memory of when it saw first that the certificate which it should serve is trusted.
type handover struct {
	settleTime time.Duration

	leaf  *x509.Certificate
	since time.Time
}

// next is what a replica that serves a certificate, or none, should serve now, and in what time to ask again; zero if
// something must happen before. What the first origin has is served as soon as it has been trusted everywhere for a
// while. A replica that has nothing of use takes what there is, what is trusted before all; and a new one takes nothing
// that is not trusted where something else is: others serve that, and it is not ready before.
func (h *handover) next(serving *tls.Certificate, origins []origin, published trust, now time.Time) (*tls.Certificate, time.Duration, error) {
	goal, err := origins[0].leaf(now)
	if err != nil {
		return serving, 0, err
	}
	if serving != nil && published.accepts(serving, now) {
		if goal == nil {
			h.forget()
			return serving, 0, nil
		}
		if wait := h.wait(serving, goal, published, now); wait > 0 {
			return serving, wait, nil
		}
		return goal, 0, nil
	}
	var leaves []*tls.Certificate
	for _, o := range origins {
		leaf, err := o.leaf(now)
		if err != nil {
			return serving, 0, err
		}
		if leaf != nil {
			leaves = append(leaves, leaf)
		}
	}
	if i := slices.IndexFunc(leaves, func(leaf *tls.Certificate) bool { return published.everywhere(leaf, now) }); i >= 0 {
		return leaves[i], 0, nil
	}
	if len(leaves) == 0 || serving == nil && len(slices.Concat(published...)) > 0 {
		return serving, 0, nil
	}
	return leaves[0], 0, nil
}

// wait is how long a replica goes on serving what it has: until the one that it should serve has been trusted for a
// while.
func (h *handover) wait(serving, goal *tls.Certificate, published trust, now time.Time) time.Duration {
	if serving.Leaf.Equal(goal.Leaf) {
		h.forget() // what was to be served once may be trusted no longer when it is again
		return 0
	}
	if !published.everywhere(goal, now) {
		h.leaf = nil
		return h.settleTime // its being published is an event, too
	}
	if h.leaf == nil || !h.leaf.Equal(goal.Leaf) {
		h.leaf, h.since = goal.Leaf, now
	}
	return max(0, h.since.Add(h.settleTime).Sub(now))
}

func (h *handover) forget() { h.leaf, h.since = nil, time.Time{} }

// retiring is the publisher's memory of since when CAs are published that are not wanted, by their content. A new leader
// begins to count once more.
type retiring struct {
	time  time.Duration
	since map[string]time.Time
}

// staying are the published CAs that are not wanted and that stay for now, and when the first of them goes; zero if there
// are none. Their time begins when all that are wanted are published, and not while they are held.
func (f *retiring) staying(published trust, wanted []*x509.Certificate, held bool, now time.Time) (stay []*x509.Certificate, until time.Time) {
	held = held || slices.ContainsFunc(wanted, func(ca *x509.Certificate) bool { return !published.has(ca) })
	since := map[string]time.Time{}
	for _, ca := range slices.Concat(published...) {
		if slices.ContainsFunc(wanted, ca.Equal) || slices.ContainsFunc(stay, ca.Equal) || !now.Before(ca.NotAfter) {
			continue
		}
		first, known := f.since[string(ca.Raw)]
		if !known || held {
			first = now
		}
		since[string(ca.Raw)] = first
		end := first.Add(f.time)
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
