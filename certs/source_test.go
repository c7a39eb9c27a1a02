package certs

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
)

func TestASourceIsReadyWhileItHasACertificate(t *testing.T) {
	t.Parallel()
	s := NewSource(Options{Namespace: "infra"})
	now := epoch
	s.now = func() time.Time { return now }
	if err := s.Ready(nil); err == nil {
		t.Error("ready without a certificate")
	}
	if err := handshake(s, mustAuthority(t, time.Now()).bundle(), "kube-prepull.infra.svc"); err == nil {
		t.Error("a handshake without a certificate")
	}
	leaf, err := mustAuthority(t, epoch).leaf(s.names, epoch)
	if err != nil {
		t.Fatal(err)
	}
	s.leaf.Store(leaf)
	for _, now = range []time.Time{epoch, leaf.Leaf.NotAfter.Add(-time.Second)} {
		if err := s.Ready(nil); err != nil {
			t.Errorf("not ready with a certificate, %s before its end: %v", leaf.Leaf.NotAfter.Sub(now), err)
		}
	}
	now = leaf.Leaf.NotAfter
	if err := s.Ready(nil); err == nil || !strings.Contains(err.Error(), "expired at 2026-01-31T00:00:00Z") {
		t.Errorf("with an expired certificate it says %v", err)
	}
}

func TestAReplicaLooksAgainWhenItsLeafIsDue(t *testing.T) {
	t.Parallel()
	a := mustAuthority(t, epoch)
	tests := map[string]struct {
		left time.Duration // of the CA's life
		want time.Duration
	}{
		"a long-lived CA: two thirds of a leaf's 30 days and an hour": {caLifetime, 20*day - clockSkew/3},
		"a CA that ends first":               {2 * time.Hour, time.Hour},
		"a CA of which half an hour is left": {30 * time.Minute, time.Minute},
		"a CA of which a second is left":     {time.Second, time.Minute},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			now := a.ca.NotAfter.Add(-test.left)
			leaf, err := a.leaf([]string{"x"}, now)
			if err != nil {
				t.Fatal(err)
			}
			s := &Source{own: ownCA{authority: a, last: leaf}}
			if got := s.untilDue(leaf, now); got != test.want {
				t.Errorf("in %s, want %s", got, test.want)
			}
		})
	}
}

func TestAHandshakeNeedsTheRightNameAndTheRightCA(t *testing.T) {
	t.Parallel()
	now := time.Now()
	a := mustAuthority(t, now)
	s := NewSource(Options{Namespace: "infra"})
	leaf, err := a.leaf(s.names, now)
	if err != nil {
		t.Fatal(err)
	}
	s.leaf.Store(leaf)
	tests := map[string]struct {
		bundle []byte
		name   string
		ok     bool
	}{
		"the Service as the API server calls it": {a.bundle(), "kube-prepull.infra.svc", true},
		"the Service's full name":                {a.bundle(), "kube-prepull.infra.svc.cluster.local", true},
		"the Service's short name":               {a.bundle(), "kube-prepull.infra", true},
		"another namespace's Service":            {a.bundle(), "kube-prepull.other.svc", false},
		"another CA":                             {mustAuthority(t, now).bundle(), "kube-prepull.infra.svc", false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := handshake(s, test.bundle, test.name); (err == nil) != test.ok {
				t.Errorf("handshake: %v", err)
			}
		})
	}
}

// handshake connects to the source as the API server does: trusting the caBundle and nothing else.
func handshake(s *Source, bundle []byte, name string) error {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(bundle) {
		return fmt.Errorf("no certificate in the bundle")
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{GetCertificate: s.GetCertificate})
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }()
	go func() {
		if conn, err := listener.Accept(); err == nil {
			_ = conn.(*tls.Conn).Handshake() // the client's side tells
			_ = conn.Close()
		}
	}()
	conn, err := tls.Dial("tcp", listener.Addr().String(), &tls.Config{RootCAs: roots, ServerName: name})
	if err != nil {
		return err
	}
	return conn.Close()
}

func TestWhenAReplicaNeedsANewLeaf(t *testing.T) {
	t.Parallel()
	first := mustAuthority(t, epoch)
	rotated := mustMaintain(t, first, epoch.Add(244*day))
	leaf := func(a *authority, at time.Duration) *tls.Certificate {
		certificate, err := a.leaf([]string{"x"}, epoch.Add(at))
		if err != nil {
			t.Fatal(err)
		}
		return certificate
	}
	tests := map[string]struct {
		leaf *tls.Certificate
		a    *authority
		at   time.Duration
		want bool
	}{
		"it has none":                                {nil, first, 0, true},
		"a new one is kept":                          {leaf(first, 0), first, 0, false},
		"it is kept just before two thirds":          {leaf(first, 0), first, 19 * day, false},
		"two thirds are over":                        {leaf(first, 0), first, 20 * day, true},
		"a rotation of the CA is no reason":          {leaf(first, 240*day), rotated, 245 * day, false},
		"the CA was replaced without a successor":    {leaf(first, 0), mustAuthority(t, epoch), 0, true},
		"the clock went back before it was issued":   {leaf(first, 100*day), first, 0, true},
		"its CA has expired and left the trusted":    {leaf(first, 0), mustMaintain(t, rotated, epoch.Add(365*day)), 0, true},
		"of the rotated CA, the predecessor left it": {leaf(rotated, 364*day), mustMaintain(t, rotated, epoch.Add(365*day)), 365 * day, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := leafDue(test.leaf, test.a, epoch.Add(test.at)); got != test.want {
				t.Errorf("due %v, want %v", got, test.want)
			}
		})
	}
}

// Ten years of leaders that publish and then store, and of replicas that come, go and look at what is stored when they
// get to it: at no moment does a replica serve what the API server does not trust.
func TestTenYearsOfRotationsNeverBreakTrust(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	stored := mustData(t, mustAuthority(t, epoch))
	published, _, err := planAuthority(stored, epoch)
	if err != nil {
		t.Fatal(err)
	}
	leaves := make([]*tls.Certificate, 3)
	rotations := 0
	for now := epoch; now.Before(epoch.Add(3650 * day)); now = now.Add(2 * day) {
		next, same, err := planAuthority(stored, now)
		if err != nil {
			t.Fatal(err)
		}
		steps := []func(){}
		if !same {
			rotations++
			steps = append(steps,
				func() { published = next },                              // and it may crash here,
				func() { stored = mustData(t, next) })[:1+random.IntN(2)] // in which case the next leader begins again
		}
		for i := range leaves {
			if random.IntN(20) == 0 {
				leaves[i] = nil // a restart
			}
			if random.IntN(4) > 0 { // and sometimes it is late
				at := random.IntN(len(steps) + 1)
				steps = append(steps[:at:at], append([]func(){func() { leaves[i] = replica(t, leaves[i], stored, now) }}, steps[at:]...)...)
			}
		}
		for _, step := range steps {
			step()
			for i, leaf := range leaves {
				if leaf != nil && !published.accepts(leaf, now) {
					t.Fatalf("%v: replica %d serves what is not trusted", now, i)
				}
			}
		}
	}
	if rotations < 14 {
		t.Errorf("%d rotations in ten years", rotations)
	}
}

// replica does what a replica does when it looks at the Secret.
func replica(t *testing.T, leaf *tls.Certificate, stored map[string][]byte, now time.Time) *tls.Certificate {
	a, err := parseAuthority(stored)
	if err != nil {
		t.Fatal(err)
	}
	if leafDue(leaf, a, now) {
		if leaf, err = a.leaf([]string{"x"}, now); err != nil {
			t.Fatal(err)
		}
	}
	return leaf
}

func TestOnlyWebhooksWithAnotherBundleChange(t *testing.T) {
	t.Parallel()
	bundle := []byte("new")
	config := func(bundles ...string) *admissionregistrationv1.MutatingWebhookConfiguration {
		c := &admissionregistrationv1.MutatingWebhookConfiguration{}
		for _, b := range bundles {
			c.Webhooks = append(c.Webhooks, admissionregistrationv1.MutatingWebhook{
				ClientConfig: admissionregistrationv1.WebhookClientConfig{CABundle: []byte(b)},
			})
		}
		return c
	}
	tests := map[string]struct {
		before  *admissionregistrationv1.MutatingWebhookConfiguration
		changed bool
	}{
		"none has one yet":            {config("", ""), true},
		"one has another":             {config("new", "edited"), true},
		"all have it: nothing is new": {config("new", "new"), false},
		"no webhooks":                 {config(), false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := setBundle(test.before, bundle); got != test.changed {
				t.Errorf("changed %v, want %v", got, test.changed)
			}
			want := config()
			for range test.before.Webhooks {
				want.Webhooks = append(want.Webhooks, config("new").Webhooks...)
			}
			if diff := cmp.Diff(want.Webhooks, test.before.Webhooks); diff != "" {
				t.Errorf("webhooks (-want +got):\n%s", diff)
			}
			if setBundle(test.before, bundle) {
				t.Error("the second time it changed again")
			}
		})
	}
}
