package certs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"maps"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

const day = 24 * time.Hour

// epoch is when the tests begin; certificates know no fractions of a second.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func mustAuthority(t testing.TB, now time.Time) *authority {
	t.Helper()
	a, err := newAuthority(now)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func mustMaintain(t testing.TB, a *authority, now time.Time) *authority {
	t.Helper()
	next, err := a.maintained(now)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

func mustData(t testing.TB, a *authority) map[string][]byte {
	t.Helper()
	data, err := a.data()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestAnAuthoritySurvivesTheSecret(t *testing.T) {
	t.Parallel()
	first := mustAuthority(t, epoch)
	rotated := mustMaintain(t, first, epoch.Add(300*day))
	for name, want := range map[string]*authority{"a first CA": first, "a CA with a predecessor": rotated} {
		got, err := parseAuthority(mustData(t, want))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !got.ca.Equal(want.ca) || !got.key.Equal(want.key) || !bytes.Equal(got.bundle(), want.bundle()) {
			t.Errorf("%s: not what was written", name)
		}
		if diff := cmp.Diff(mustData(t, want), mustData(t, got)); diff != "" {
			t.Errorf("%s: written again it differs:\n%s", name, diff)
		}
	}
}

func TestWhatDoesNotFitTogetherIsNoAuthority(t *testing.T) {
	t.Parallel()
	a, other := mustAuthority(t, epoch), mustAuthority(t, epoch)
	leaf, err := a.leaf([]string{"x"}, epoch)
	if err != nil {
		t.Fatal(err)
	}
	leafPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Leaf.Raw})
	leafKey, err := x509.MarshalPKCS8PrivateKey(leaf.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	otherKey := mustData(t, other)[corev1.TLSPrivateKeyKey]
	tests := map[string]map[string][]byte{
		"the CA is gone":                     {corev1.TLSCertKey: nil},
		"the key is gone":                    {corev1.TLSPrivateKeyKey: nil},
		"the trusted CAs are gone":           {keyTrusted: nil},
		"the CA is no PEM":                   {corev1.TLSCertKey: []byte("hello")},
		"the trusted CAs are no PEM":         {keyTrusted: []byte("hello")},
		"a trusted CA is no certificate":     {keyTrusted: append(a.bundle(), "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n"...)},
		"the key is another CA's":            {corev1.TLSPrivateKeyKey: otherKey},
		"the CA is not trusted":              {keyTrusted: other.bundle()},
		"the CA is not the first trusted":    {keyTrusted: append(other.bundle(), a.bundle()...)},
		"the certificate is no CA":           {corev1.TLSCertKey: leafPEM, corev1.TLSPrivateKeyKey: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: leafKey}), keyTrusted: leafPEM},
		"the CA has a key of another family": rsaAuthority(t),
	}
	for name, damage := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data := mustData(t, a)
			maps.Copy(data, damage)
			if _, err := parseAuthority(data); err == nil {
				t.Fatal("no error")
			}
			next, stored, err := planAuthority(data, epoch)
			if err != nil || stored {
				t.Fatalf("stored %v, error %v, want a replacement", stored, err)
			}
			if _, stored, err := planAuthority(mustData(t, next), epoch); err != nil || !stored {
				t.Errorf("the replacement is not kept: stored %v, error %v", stored, err)
			}
		})
	}
}

func rsaAuthority(t *testing.T) map[string][]byte {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{IsCA: true, BasicConstraintsValid: true, NotBefore: epoch, NotAfter: epoch.Add(day)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return map[string][]byte{
		corev1.TLSCertKey:       certificate,
		corev1.TLSPrivateKeyKey: pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}),
		keyTrusted:              certificate,
	}
}

func TestACAIsReplacedAtTwoThirdsOfItsLifeAndTrustedToItsEnd(t *testing.T) {
	t.Parallel()
	first := mustAuthority(t, epoch)
	second := mustMaintain(t, first, epoch.Add(244*day))
	tests := map[string]struct {
		from    *authority
		at      time.Duration
		newCA   bool
		trusted int
	}{
		"a new CA is kept":                              {first, 0, false, 1},
		"a CA is kept just before two thirds":           {first, 243 * day, false, 1},
		"a CA is replaced after two thirds":             {first, 244 * day, true, 2},
		"a CA that has expired is not trusted":          {first, 366 * day, true, 1},
		"a predecessor is trusted while it lives":       {second, 364 * day, false, 2},
		"a predecessor that has expired leaves":         {second, 365 * day, false, 1},
		"a rotation long overdue leaves only the new":   {second, 2000 * day, true, 1},
		"a second rotation finds the first CA expired":  {second, (244 + 244) * day, true, 2},
		"a clock that went back changes nothing":        {second, 100 * day, false, 2},
		"a clock that was far ahead costs nothing more": {first, -365 * day, false, 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			now := epoch.Add(test.at)
			next := mustMaintain(t, test.from, now)
			if got := next.ca != test.from.ca; got != test.newCA {
				t.Errorf("new CA %v, want %v", got, test.newCA)
			}
			if len(next.trusted) != test.trusted || next.trusted[0] != next.ca {
				t.Errorf("%d trusted CAs, want %d with the signing one first", len(next.trusted), test.trusted)
			}
			if !test.newCA && test.trusted == len(test.from.trusted) && next != test.from {
				t.Error("nothing changed, and yet there is something to write")
			}
			if mustMaintain(t, next, now) != next {
				t.Error("maintained twice it changes again")
			}
			if wake := next.maintenance(); !wake.After(now) || mustMaintain(t, next, wake.Add(-time.Second)) != next || mustMaintain(t, next, wake) == next {
				t.Errorf("maintenance at %v is not when something changes", wake)
			}
		})
	}
}

func TestALeafNeverOutlivesItsCA(t *testing.T) {
	t.Parallel()
	a := mustAuthority(t, epoch)
	for _, age := range []time.Duration{0, 100 * day, 335 * day, 350 * day, 365*day - time.Minute} {
		now := epoch.Add(age)
		leaf, err := a.leaf([]string{"x"}, now)
		if err != nil {
			t.Fatal(err)
		}
		if leaf.Leaf.NotAfter.After(a.ca.NotAfter) || leaf.Leaf.NotAfter.After(now.Add(leafLifetime)) {
			t.Errorf("a leaf issued after %v lives until %v", age, leaf.Leaf.NotAfter)
		}
		if !a.accepts(leaf, now.Add(-clockSkew)) || !a.accepts(leaf, leaf.Leaf.NotAfter) {
			t.Errorf("a leaf issued after %v is not accepted all its life", age)
		}
		if a.accepts(leaf, leaf.Leaf.NotAfter.Add(time.Second)) || mustAuthority(t, epoch).accepts(leaf, now) {
			t.Errorf("a leaf issued after %v is accepted when it should not be", age)
		}
	}
}

func TestKeysAreP256AndTheCASignsOnlyLeaves(t *testing.T) {
	t.Parallel()
	a := mustAuthority(t, epoch)
	leaf, err := a.leaf([]string{"x"}, epoch)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]any{"CA": a.ca.PublicKey, "leaf": leaf.Leaf.PublicKey} {
		if public, ok := key.(*ecdsa.PublicKey); !ok || public.Curve != elliptic.P256() {
			t.Errorf("%s key %T", name, key)
		}
	}
	if !a.ca.IsCA || !a.ca.MaxPathLenZero || leaf.Leaf.IsCA {
		t.Error("more may be signed than leaves")
	}
}
