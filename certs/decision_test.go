package certs

import (
	"crypto/x509"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

const (
	auto   = v1alpha1.CertificatesAuto
	forced = v1alpha1.CertificatesCertManager
	self   = v1alpha1.CertificatesSelfManaged
)

func TestWhoseCertificatesAreServed(t *testing.T) {
	t.Parallel()
	good := mustIssued(t, mustAuthority(t, epoch))
	tests := map[string]struct {
		mode        string
		served, was bool
		made        *issued
		bad         time.Duration // for how long there has been nothing to rely on
		want        bool
	}{
		"auto, and no cert-manager":                             {auto, false, false, &issued{}, 0, false},
		"auto, and cert-manager has issued":                     {auto, true, false, good, 0, true},
		"auto, and cert-manager has not issued yet":             {auto, true, false, &issued{}, 0, false},
		"auto, and cert-manager never issues":                   {auto, true, false, &issued{}, time.Hour, false},
		"auto, and cert-manager's certificate is lost":          {auto, true, true, &issued{}, 0, true},
		"auto, and it is lost for a while":                      {auto, true, true, &issued{}, fallbackTime - time.Second, true},
		"auto, and cert-manager does not replace what is lost":  {auto, true, true, &issued{}, fallbackTime, false},
		"auto, and cert-manager is back":                        {auto, true, false, good, time.Hour, true},
		"auto, and cert-manager is gone":                        {auto, false, true, good, 0, false},
		"self-managed never cares":                              {self, true, false, good, 0, false},
		"self-managed after cert-manager":                       {self, true, true, good, 0, false},
		"cert-manager, and it has not issued yet":               {forced, true, false, &issued{}, time.Hour, false},
		"cert-manager, and it has issued":                       {forced, true, false, good, 0, true},
		"cert-manager, and its certificate is lost for an hour": {forced, true, true, &issued{}, time.Hour, true},
		"cert-manager, and its API is gone":                     {forced, false, true, good, 0, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var d decision
			if test.bad > 0 {
				d.badSince = epoch.Add(-test.bad)
			}
			if got := d.certManager(situation{mode: test.mode, apiServed: test.served, inUse: test.was, issued: test.made}, epoch); got != test.want {
				t.Errorf("cert-manager's: %v, want %v", got, test.want)
			}
			if again := d.certManager(situation{mode: test.mode, apiServed: test.served, inUse: test.was, issued: test.made}, epoch); again != test.want {
				t.Errorf("asked again: %v", again)
			}
		})
	}
}

func TestWhichCAsAreTrusted(t *testing.T) {
	t.Parallel()
	own, cm, next, gone := mustAuthority(t, epoch), mustAuthority(t, epoch), mustAuthority(t, epoch), mustAuthority(t, epoch)
	made := mustIssued(t, cm)
	replaced := *made
	replaced.ca = next.ca
	lost := &issued{ca: next.ca}
	cas := func(as ...*authority) []*x509.Certificate {
		var list []*x509.Certificate
		for _, a := range as {
			list = append(list, a.ca)
		}
		return list
	}
	all := trust{cas(own, cm, next, gone)}
	tests := map[string]struct {
		mode        string
		served, was bool
		made        *issued
		own         *authority
		published   trust
		since       time.Duration // for how long all has been published
		want        []*x509.Certificate
	}{
		"the first one":                                  {self, false, false, &issued{}, own, trust{nil}, 0, cas(own)},
		"with auto both are":                             {auto, true, true, made, own, trust{cas(own, cm)}, 0, cas(cm, own)},
		"with auto, until cert-manager has issued":       {auto, true, false, &issued{ca: cm.ca}, own, trust{cas(own)}, 0, cas(own, cm)},
		"with cert-manager only its own":                 {forced, true, true, made, own, trust{cas(own, cm)}, retireTime, cas(cm)},
		"with cert-manager ours stays for a while":       {forced, true, true, made, own, trust{cas(own, cm)}, retireTime - 1, cas(cm, own)},
		"with cert-manager ours, until it has issued":    {forced, true, false, &issued{}, own, trust{cas(own)}, time.Hour, cas(own)},
		"with cert-manager, and nothing is there":        {forced, true, false, &issued{}, nil, trust{nil}, 0, nil},
		"with cert-manager, and all is lost":             {forced, true, true, &issued{}, own, trust{cas(cm)}, time.Hour, nil},
		"cert-manager's CA was replaced":                 {auto, true, true, &replaced, own, trust{cas(cm, own)}, 0, cas(next, cm, own)},
		"cert-manager's certificate is to come":          {auto, true, true, lost, own, all, time.Hour, cas(next, own, cm, gone)},
		"cert-manager's certificate came":                {auto, true, true, made, own, all, retireTime, cas(cm, own)},
		"cert-manager's API is gone":                     {auto, false, true, made, own, trust{cas(cm, own)}, retireTime - 1, cas(own, cm)},
		"cert-manager's API has been gone":               {auto, false, false, made, own, trust{cas(cm, own)}, retireTime, cas(own)},
		"self-managed after cert-manager":                {self, false, true, &issued{}, own, trust{cas(cm)}, time.Hour, cas(own, cm)},
		"self-managed after cert-manager, in the end":    {self, false, false, &issued{}, own, trust{cas(own, cm)}, retireTime, cas(own)},
		"self-managed, and our own CA is not there":      {self, false, false, &issued{}, nil, trust{cas(gone)}, time.Hour, nil},
		"auto, and our own CA is not there for a moment": {auto, true, true, made, nil, trust{cas(cm, own)}, 0, cas(cm, own)},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := decision{retiring: retiring{time: retireTime, since: map[string]time.Time{}}}
			for _, ca := range slices.Concat(test.published...) {
				d.retiring.since[string(ca.Raw)] = epoch.Add(-test.since)
			}
			got := d.publication(situation{test.mode, test.was, test.served, test.made, test.own, test.published}, epoch).trusted
			if !slices.EqualFunc(got, test.want, (*x509.Certificate).Equal) {
				t.Errorf("%d are trusted, want %d (%v)", len(got), len(test.want), names(got, map[string]*authority{"own": own, "cm": cm, "next": next, "gone": gone}))
			}
		})
	}
}

// names are the names of CAs.
func names(cas []*x509.Certificate, known map[string]*authority) []string {
	var list []string
	for _, ca := range cas {
		for name, a := range known {
			if a.ca.Equal(ca) {
				list = append(list, name)
			}
		}
	}
	return list
}

func TestOurOwnCAIsKeptWhereItIsUsed(t *testing.T) {
	t.Parallel()
	data := mustData(t, mustAuthority(t, epoch))
	tests := map[string]struct {
		exists       bool
		data         map[string][]byte
		mode         string
		certManager  bool
		next, stored bool
	}{
		"it is as it should be":                 {true, data, self, false, true, true},
		"it is damaged":                         {true, nil, self, false, true, false},
		"it is not there yet":                   {false, nil, self, false, false, true},
		"with auto it is kept for a fallback":   {true, nil, auto, true, true, false},
		"with cert-manager it is of no use":     {true, nil, forced, true, false, true},
		"with cert-manager, until it has issue": {true, nil, forced, false, true, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			next, stored, err := situation{mode: test.mode, inUse: test.certManager}.ownAuthority(secretWith(test.exists, test.data), epoch)
			if err != nil || (next != nil) != test.next || stored != test.stored {
				t.Errorf("there is one: %v, stored: %v (%v), want %v, %v", next != nil, stored, err, test.next, test.stored)
			}
		})
	}
}

func TestTheFirstMomentCounts(t *testing.T) {
	t.Parallel()
	never, soon, later := time.Time{}, epoch.Add(time.Minute), epoch.Add(time.Hour)
	tests := map[string]struct {
		moments []time.Time
		want    time.Duration
	}{
		"none":                 {nil, 0},
		"all of them never":    {[]time.Time{never, never}, 0},
		"the first of several": {[]time.Time{later, never, soon}, time.Minute},
		"one that is over":     {[]time.Time{later, epoch.Add(-time.Hour)}, time.Second},
	}
	for name, test := range tests {
		if got := untilFirst(epoch, test.moments...); got != test.want {
			t.Errorf("%s: in %s, want %s", name, got, test.want)
		}
	}
}

// secretWith is the Secret of our own CA, as it is read.
func secretWith(exists bool, data map[string][]byte) *corev1.Secret {
	s := &corev1.Secret{Data: data}
	if exists {
		s.ResourceVersion = "1"
	}
	return s
}
