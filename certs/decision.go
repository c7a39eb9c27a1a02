package certs

import (
	"crypto/x509"
	"slices"
	"time"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// fallbackTime is how long auto waits for cert-manager, once its certificates are served, to replace what is lost: it
// needs seconds for that if it works.
const fallbackTime = 2 * time.Minute

// decision is the leader's memory. A new leader begins to count once more.
type decision struct {
	// badSince is since when there is nothing to rely on from cert-manager, zero if there is.
	badSince time.Time
	leaving  farewell
}

// publication is what the API server should be told.
type publication struct {
	// certManager is whether replicas should serve what cert-manager issues.
	certManager bool
	// trusted are all CAs, the one of the certificates in service first; none if there is nothing to say.
	trusted []*x509.Certificate
	// until is when the first of them leaves, zero if none does.
	until time.Time
}

// publication decides. served is whether cert-manager's API is, was whether its certificates were to be served before,
// made what it has issued, own our own authority, nil if there is none.
func (d *decision) publication(mode string, served, was bool, made *issued, own *authority, published trust, now time.Time) publication {
	p := publication{certManager: d.certManager(mode, served, was, made, now)}
	forced := mode == v1alpha1.CertificatesCertManager
	var origins []origin
	// With auto our own CA stays trusted beside cert-manager's, so that every replica can fall back on it at once.
	if !p.certManager || !forced {
		origins = append(origins, &ownCA{authority: own})
	}
	if usesCertManager(mode) && (served || forced) {
		origins = append(origins, made)
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
	held := p.certManager && !(made.good(now) && made.current(now))
	stay, until := d.leaving.staying(published, wanted, held, now)
	p.trusted, p.until = append(wanted, stay...), until
	return p
}

// certManager says whether replicas should serve what cert-manager issues. Who forces it never gets anything else again.
func (d *decision) certManager(mode string, served, was bool, made *issued, now time.Time) bool {
	good := made.good(now)
	switch {
	case good:
		d.badSince = time.Time{}
	case d.badSince.IsZero():
		d.badSince = now
	}
	switch mode {
	case v1alpha1.CertificatesSelfManaged:
		return false
	case v1alpha1.CertificatesCertManager:
		return was || good
	default:
		return served && (good || was && !d.givenUp(now))
	}
}

// givenUp says whether cert-manager has had its time.
func (d *decision) givenUp(now time.Time) bool {
	return !d.badSince.IsZero() && !now.Before(d.badSince.Add(fallbackTime))
}

// ownAuthority is what the Secret of our own CA should hold, nil if nothing, and whether it does. If there is no Secret,
// a replica makes it where it is needed.
func ownAuthority(exists bool, data map[string][]byte, mode string, certManager bool, now time.Time) (next *authority, stored bool, err error) {
	if !exists || certManager && mode == v1alpha1.CertificatesCertManager {
		return nil, true, nil
	}
	return planAuthority(data, now)
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
