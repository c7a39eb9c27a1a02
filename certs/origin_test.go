package certs

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"maps"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// mustIssued is what cert-manager has made with a CA.
func mustIssued(t *testing.T, a *authority) *issued {
	t.Helper()
	return parseIssued(mustServing(t, a, mustLeaf(t, a, epoch)), mustData(t, a), "x")
}

// mustServing is a Secret with a leaf of a CA.
func mustServing(t *testing.T, a *authority, leaf *tls.Certificate) map[string][]byte {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(leaf.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{
		corev1.TLSCertKey:       pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Leaf.Raw}),
		corev1.TLSPrivateKeyKey: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}),
		keyTrusted:              mustData(t, a)[corev1.TLSCertKey],
	}
}

// renewed is a CA with the same name and key.
func renewed(t *testing.T, a *authority, now time.Time) *authority {
	t.Helper()
	template := *a.ca
	template.SerialNumber, template.NotBefore, template.NotAfter = nil, now, now.Add(caLifetime)
	ca, err := sign(&template, &template, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{ca: ca, key: a.key, trusted: []*x509.Certificate{ca}}
}

func TestWhatCertManagerWroteIsReadAndJudged(t *testing.T) {
	t.Parallel()
	a, other := mustAuthority(t, epoch), mustAuthority(t, epoch)
	serving, ca := mustServing(t, a, mustLeaf(t, a, epoch)), mustData(t, a)
	with := func(key string, value []byte) map[string][]byte {
		data := maps.Clone(serving)
		data[key] = value
		return data
	}
	noCA := map[string][]byte{corev1.TLSCertKey: serving[corev1.TLSCertKey]}
	tests := map[string]struct {
		serving, ca   map[string][]byte
		name          string
		after         time.Duration
		good, current bool
		trusted       int
	}{
		"all is well":                             {serving, ca, "x", 0, true, true, 1},
		"two thirds of its life are over":         {serving, ca, "x", 21 * day, true, true, 1},
		"nine tenths of its life are over":        {serving, ca, "x", 27 * day, false, true, 1},
		"it has expired":                          {serving, ca, "x", 31 * day, false, false, 1},
		"nothing is there":                        {nil, nil, "x", 0, false, false, 0},
		"only the CA is there":                    {nil, ca, "x", 0, false, false, 1},
		"the CA is gone":                          {serving, nil, "x", 0, true, false, 1},
		"the CA was replaced":                     {serving, mustData(t, other), "x", 0, true, false, 2},
		"the CA was renewed with its key":         {serving, mustData(t, renewed(t, a, epoch)), "x", 0, true, true, 2},
		"the CA is no CA":                         {serving, noCA, "x", 0, true, false, 1},
		"the CA is damaged":                       {serving, map[string][]byte{corev1.TLSCertKey: []byte("hello")}, "x", 0, true, false, 1},
		"it came without a CA":                    {with(keyTrusted, nil), ca, "x", 0, true, true, 1},
		"it came without a CA, which is gone too": {with(keyTrusted, nil), nil, "x", 0, false, false, 0},
		"it came with another CA":                 {with(keyTrusted, mustData(t, other)[corev1.TLSCertKey]), nil, "x", 0, false, false, 0},
		"it is for another name":                  {serving, ca, "y", 0, false, false, 1},
		"its key is another's":                    {with(corev1.TLSPrivateKeyKey, ca[corev1.TLSPrivateKeyKey]), ca, "x", 0, false, false, 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i, now := parseIssued(test.serving, test.ca, test.name), epoch.Add(test.after)
			if got := i.usable(now); got != test.good {
				t.Errorf("good %v, want %v", got, test.good)
			}
			if got := i.current(now); got != test.current {
				t.Errorf("current %v, want %v", got, test.current)
			}
			if got := len(i.trusted()); got != test.trusted {
				t.Errorf("%d CAs, want %d", got, test.trusted)
			}
			leaf, err := i.leaf(now)
			if want := i.certificate != nil && now.Before(i.certificate.Leaf.NotAfter); err != nil || (leaf != nil) != want {
				t.Errorf("there is a leaf: %v (%v), want %v", leaf != nil, err, want)
			}
		})
	}
}

func TestOurOwnCAIssuesOnceAndAgainWhenItIsDue(t *testing.T) {
	t.Parallel()
	leaf := func(o *ownCA, after time.Duration) *tls.Certificate {
		certificate, err := o.leaf(epoch.Add(after))
		if err != nil {
			t.Fatal(err)
		}
		return certificate
	}
	o := &ownCA{names: []string{"x"}}
	if leaf(o, 0) != nil || o.trusted() != nil {
		t.Error("without a CA there is something")
	}
	o.authority = mustAuthority(t, epoch)
	first := leaf(o, 0)
	if first == nil || leaf(o, 19*day) != first {
		t.Error("the first is not kept")
	}
	second := leaf(o, 21*day)
	if second == first {
		t.Error("it is not renewed after two thirds of its life")
	}
	o.authority = nil
	if leaf(o, 22*day) != nil {
		t.Error("it is there without its CA")
	}
	o.authority = mustAuthority(t, epoch)
	if third := leaf(o, 22*day); third == second {
		t.Error("it is not replaced with its CA")
	}
}
