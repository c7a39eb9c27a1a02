package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
)

const (
	// caLifetime is long enough that the third of it which is left at a rotation outlives every leaf many times over.
	caLifetime = 365 * 24 * time.Hour

	// leafLifetime of the certificate that a replica serves.
	leafLifetime = 30 * 24 * time.Hour

	// clockSkew is how far the clocks of the API server and of this machine may be apart.
	clockSkew = time.Hour

	// keyTrusted is the Secret's key for the CAs that are trusted; the one that signs is under the keys of a TLS Secret.
	keyTrusted = "ca.crt"
)

// authority is what the Secret holds.
type authority struct {
	// ca signs, with key.
	ca  *x509.Certificate
	key *ecdsa.PrivateKey
	// trusted is ca and its predecessors. A predecessor's key is gone, but leaves that it signed may be in use; it
	// stays until it expires, and no leaf outlives its CA.
	trusted []*x509.Certificate
}

// newAuthority makes a CA that has no predecessors: whatever was trusted before no longer is.
func newAuthority(now time.Time) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generating the key of the CA: %w", err)
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: SecretName},
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              now.Add(caLifetime),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	ca, err := sign(template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("signing the CA: %w", err)
	}
	return &authority{ca: ca, key: key, trusted: []*x509.Certificate{ca}}, nil
}

// maintained returns what the authority should be now: itself, or without predecessors that have expired, or with a
// new CA once two thirds of its life are over.
func (a *authority) maintained(now time.Time) (*authority, error) {
	next := a
	if !now.Before(renewal(a.ca)) {
		successor, err := newAuthority(now)
		if err != nil {
			return nil, err
		}
		next = successor
	}
	trusted := []*x509.Certificate{next.ca}
	for _, old := range a.trusted {
		if old != next.ca && now.Before(old.NotAfter) {
			trusted = append(trusted, old)
		}
	}
	if next == a && len(trusted) == len(a.trusted) {
		return a, nil
	}
	return &authority{ca: next.ca, key: next.key, trusted: trusted}, nil
}

// maintenance is when maintained will next return something else.
func (a *authority) maintenance() time.Time {
	at := renewal(a.ca)
	for _, old := range a.trusted {
		if old.NotAfter.Before(at) {
			at = old.NotAfter
		}
	}
	return at
}

// leaf issues a serving certificate for names. It never outlives the CA.
func (a *authority) leaf(names []string, now time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generating the key of the certificate: %w", err)
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: names[0]},
		DNSNames:    names,
		NotBefore:   now.Add(-clockSkew),
		NotAfter:    now.Add(leafLifetime),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if template.NotAfter.After(a.ca.NotAfter) {
		template.NotAfter = a.ca.NotAfter
	}
	leaf, err := sign(template, a.ca, &key.PublicKey, a.key)
	if err != nil {
		return nil, fmt.Errorf("signing the certificate: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}, nil
}

// accepts says whether a client that trusts this authority accepts the leaf now.
func (a *authority) accepts(leaf *tls.Certificate, now time.Time) bool {
	return verifies(leaf, a.trusted, now)
}

// bundle is the trusted CAs as PEM, the form of a caBundle.
func (a *authority) bundle() []byte {
	return encodeBundle(a.trusted)
}

// data is the authority as the Secret holds it.
func (a *authority) data() (map[string][]byte, error) {
	key, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		return nil, fmt.Errorf("encoding the key of the CA: %w", err)
	}
	return map[string][]byte{
		corev1.TLSCertKey:       pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.ca.Raw}),
		corev1.TLSPrivateKeyKey: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}),
		keyTrusted:              a.bundle(),
	}, nil
}

// parseAuthority reads what data wrote. It fails if any part is missing, damaged or does not belong to the others.
func parseAuthority(data map[string][]byte) (*authority, error) {
	pair, err := tls.X509KeyPair(data[corev1.TLSCertKey], data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return nil, fmt.Errorf("reading the CA: %w", err)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok || !pair.Leaf.IsCA {
		return nil, errors.New("reading the CA: not a CA with an ECDSA key")
	}
	trusted, err := parseBundle(data[keyTrusted])
	if err != nil {
		return nil, err
	}
	if len(trusted) == 0 || !trusted[0].Equal(pair.Leaf) {
		return nil, errors.New("reading the trusted CAs: the CA is not the first of them")
	}
	return &authority{ca: trusted[0], key: key, trusted: trusted}, nil
}

// renewal is when two thirds of a certificate's life are over.
func renewal(cert *x509.Certificate) time.Time {
	return cert.NotBefore.Add(cert.NotAfter.Sub(cert.NotBefore) / 3 * 2)
}

// sign returns template as signed by parent.
func sign(template, parent *x509.Certificate, public *ecdsa.PublicKey, key *ecdsa.PrivateKey) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}
