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

// decision is the leader's memory of since when there is nothing to rely on from cert-manager. The zero value is ready;
// a new leader begins to count once more.
type decision struct {
	badSince time.Time
}

// certManager says whether replicas should serve what cert-manager issues. served is whether its API is, was whether it
// was decided so before. Who forces cert-manager never gets anything else again.
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
		return served && (good || was && now.Before(d.badSince.Add(fallbackTime)))
	}
}

// wantedCAs are the CAs that should be trusted, the one of the certificates in service first. own and made are nil for
// an origin that is not to be used. With auto our own CA stays trusted beside cert-manager's, so that every replica can
// fall back on it at once.
func wantedCAs(certManager bool, own, made origin) []*x509.Certificate {
	origins := []origin{own, made}
	if certManager {
		slices.Reverse(origins)
	}
	var cas []*x509.Certificate
	for _, o := range origins {
		if o == nil {
			continue
		}
		for _, ca := range o.trusted() {
			if !slices.ContainsFunc(cas, ca.Equal) {
				cas = append(cas, ca)
			}
		}
	}
	return cas
}
