package certs

import (
	"crypto/tls"
	"crypto/x509"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// origin is where serving certificates come from.
type origin interface {
	// leaf is what a replica should serve, nil if there is nothing of use.
	leaf(now time.Time) (*tls.Certificate, error)

	// trusted are the CAs that must be trusted for that, and for the leaf after it.
	trusted() []*x509.Certificate
}

// ownCA is the origin of self-managed certificates: it issues from the authority in the Secret, a leaf for each replica.
type ownCA struct {
	authority *authority // nil if there is none of use
	names     []string
	last      *tls.Certificate // what this replica issued last
}

func (o *ownCA) leaf(now time.Time) (*tls.Certificate, error) {
	if o.authority == nil {
		return nil, nil
	}
	if leafDue(o.last, o.authority, now) {
		leaf, err := o.authority.leaf(o.names, now)
		if err != nil {
			return nil, err
		}
		o.last = leaf
	}
	return o.last, nil
}

func (o *ownCA) trusted() []*x509.Certificate {
	if o.authority == nil {
		return nil
	}
	return o.authority.trusted
}

// leafDue says whether a replica needs a new certificate: it has none, two thirds of its life are over, or its CA is
// no longer trusted. A rotation of the CA alone is no reason.
func leafDue(leaf *tls.Certificate, a *authority, now time.Time) bool {
	return leaf == nil || !now.Before(renewal(leaf.Leaf)) || !a.accepts(leaf, now)
}

// issued is the origin of cert-manager's certificates: one for all replicas, as it lies in Secrets.
type issued struct {
	certificate *tls.Certificate    // nil if there is none of use
	signers     []*x509.Certificate // the CAs that came with it
	ca          *x509.Certificate   // what signs the next one, nil if it is not known
}

// parseIssued reads what cert-manager wrote: the Secret of the serving certificate, which must be for a name, and that
// of its CA. What is missing or damaged is left out.
func parseIssued(serving, ca map[string][]byte, name string) *issued {
	i := &issued{}
	if pair, err := tls.X509KeyPair(serving[corev1.TLSCertKey], serving[corev1.TLSPrivateKeyKey]); err == nil && pair.Leaf.VerifyHostname(name) == nil {
		i.certificate = &pair
		i.signers, _ = parseBundle(serving[keyTrusted])
	}
	if cas, _ := parseBundle(ca[corev1.TLSCertKey]); len(cas) > 0 && cas[0].IsCA {
		i.ca = cas[0]
	}
	return i
}

func (i *issued) leaf(now time.Time) (*tls.Certificate, error) {
	if i.certificate == nil || !now.Before(i.certificate.Leaf.NotAfter) {
		return nil, nil
	}
	return i.certificate, nil
}

// trusted are the CA of the next certificate and those of the present one: after a renewal of the CA they differ.
func (i *issued) trusted() []*x509.Certificate {
	var cas []*x509.Certificate
	if i.ca != nil {
		cas = append(cas, i.ca)
	}
	for _, ca := range i.signers {
		if !slices.ContainsFunc(cas, ca.Equal) && ca.CheckSignature(i.certificate.Leaf.SignatureAlgorithm, i.certificate.Leaf.RawTBSCertificate, i.certificate.Leaf.Signature) == nil {
			cas = append(cas, ca)
		}
	}
	return cas
}

// usable says whether the certificate can be relied on: a tenth of its life is left at least, far less than cert-manager
// leaves when it does its work.
func (i *issued) usable(now time.Time) bool {
	if i.certificate == nil || !verifies(i.certificate, i.trusted(), now) {
		return false
	}
	leaf := i.certificate.Leaf
	return now.Before(leaf.NotAfter.Add(-leaf.NotAfter.Sub(leaf.NotBefore) / 10))
}

// current says whether the certificate is one of the CA that signs the next one. cert-manager does not look after that
// when the CA is replaced.
func (i *issued) current(now time.Time) bool {
	return i.certificate != nil && i.ca != nil && verifies(i.certificate, []*x509.Certificate{i.ca}, now)
}

// upToDate says whether the certificate is the one to serve, and no other is to come.
func (i *issued) upToDate(now time.Time) bool { return i.usable(now) && i.current(now) }
