package certs

import (
	"crypto/x509"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// fallbackTime is how long auto waits for cert-manager, once its certificates are served, to replace what is lost: it
// needs seconds for that if it works.
const fallbackTime = 2 * time.Minute

// decision is the leader's memory. A new leader begins to count once more.
type decision struct {
	// badSince is since when there is nothing to rely on from cert-manager, zero if there is.
	badSince time.Time
	retiring retiring
}

// situation is what the leader decides on.
type situation struct {
	// mode is the configuration's key certificates.
	mode string

	// inUse is whether replicas were to serve cert-manager's certificates before, and apiServed whether its API is.
	inUse, apiServed bool

	// issued is what cert-manager has made, and own our own authority, nil if there is none.
	issued *issued
	own    *authority

	// published is what the webhooks trust.
	published trust
}

// required is set if nothing but cert-manager will do.
func (s situation) required() bool { return s.mode == v1alpha1.CertificatesCertManager }

// publication is what the API server should be told.
type publication struct {
	// certManager is whether replicas should serve what cert-manager issues.
	certManager bool
	// trusted are all CAs, the one of the certificates in service first; none if there is nothing to say.
	trusted []*x509.Certificate
	// until is when the first of them leaves, zero if none does.
	until time.Time
}

// publication decides what the API server should be told.
func (d *decision) publication(s situation, now time.Time) publication {
	p := publication{certManager: d.certManager(s, now)}
	var origins []origin
	// With auto our own CA stays trusted beside cert-manager's, so that every replica can fall back on it at once.
	if !p.certManager || !s.required() {
		origins = append(origins, &ownCA{authority: s.own})
	}
	if usesCertManager(s.mode) && (s.apiServed || s.required()) {
		origins = append(origins, s.issued)
	}
	if p.certManager {
		slices.Reverse(origins)
	}
	var wanted []*x509.Certificate
	for _, o := range origins {
		for _, ca := range o.trusted() {
			if !slices.ContainsFunc(wanted, ca.Equal) {
				wanted = append(wanted, ca)
			}
		}
	}
	if len(wanted) == 0 {
		return p
	}
	// While cert-manager's next certificate is to come, replicas may serve one of a CA that nobody remembers.
	held := p.certManager && !s.issued.upToDate(now)
	stay, until := d.retiring.staying(s.published, wanted, held, now)
	p.trusted, p.until = append(wanted, stay...), until
	return p
}

// certManager says whether replicas should serve what cert-manager issues. Who requires it never gets anything else again.
func (d *decision) certManager(s situation, now time.Time) bool {
	usable := s.issued.usable(now)
	switch {
	case usable:
		d.badSince = time.Time{}
	case d.badSince.IsZero():
		d.badSince = now
	}
	switch s.mode {
	case v1alpha1.CertificatesSelfManaged:
		return false
	case v1alpha1.CertificatesCertManager:
		return s.inUse || usable
	default:
		return s.apiServed && (usable || s.inUse && !d.givenUp(now))
	}
}

// givenUp says whether cert-manager has had its time.
func (d *decision) givenUp(now time.Time) bool {
	return !d.badSince.IsZero() && !now.Before(d.badSince.Add(fallbackTime))
}

// ownAuthority is what the Secret of our own CA should hold, nil if nothing, and whether it does. If there is no Secret,
// which is no data, a replica makes it where it is needed.
func (s situation) ownAuthority(secret *corev1.Secret, now time.Time) (next *authority, stored bool, err error) {
	if secret.ResourceVersion == "" || s.inUse && s.required() {
		return nil, true, nil
	}
	return planAuthority(secret.Data, now)
}

// planAuthority returns what the Secret should hold, and whether it does.
func planAuthority(data map[string][]byte, now time.Time) (next *authority, stored bool, err error) {
	current, err := parseAuthority(data)
	if err != nil {
		next, err = newAuthority(now)
		return next, false, err
	}
	next, err = current.maintained(now)
	return next, next == current, err
}
