package certs

import (
	"crypto/x509"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"

	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
)

func bundled(bundles ...[]byte) *admissionregistrationv1.MutatingWebhookConfiguration {
	c := &admissionregistrationv1.MutatingWebhookConfiguration{}
	for _, b := range bundles {
		c.Webhooks = append(c.Webhooks, admissionregistrationv1.MutatingWebhook{ClientConfig: admissionregistrationv1.WebhookClientConfig{CABundle: b}})
	}
	return c
}

func TestCainjectorOnlyAdds(t *testing.T) {
	t.Parallel()
	a, b, c := mustAuthority(t, epoch).ca, mustAuthority(t, epoch).ca, mustAuthority(t, epoch).ca
	pem := func(cas ...*x509.Certificate) []byte { return encodeBundle(cas) }
	want := []*x509.Certificate{a, b}
	tests := map[string]struct {
		config *admissionregistrationv1.MutatingWebhookConfiguration
		want   bundle
	}{
		"all have them":                   {bundled(pem(a, b), pem(a, b)), bundleRight},
		"all have them, in another order": {bundled(pem(a, b), pem(b, a)), bundleRight},
		"no webhooks":                     {bundled(), bundleRight},
		"one lacks one":                   {bundled(pem(a, b), pem(b)), bundleLacks},
		"one has none":                    {bundled(pem(a, b), nil), bundleLacks},
		"only the first lacks one":        {bundled(pem(a), pem(a, b)), bundleLacks},
		"one has one too many":            {bundled(pem(a, b), pem(a, b, c)), bundleDiffers},
		"one has another":                 {bundled(pem(a), pem(a, c)), bundleDiffers},
		"one lacks one, one has too many": {bundled(pem(a), pem(a, b, c)), bundleDiffers},
		"one has something else in it":    {bundled(append(pem(a, b), "hello"...)), bundleDiffers},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := bundleOf(test.config, want); got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
		})
	}
}

func TestCainjectorHasItsTimeToAddAndIsNotDisturbed(t *testing.T) {
	t.Parallel()
	var i injection
	check := func(after time.Duration, changed bool, found bundle, want time.Duration) {
		t.Helper()
		if changed {
			i.changed = epoch.Add(after)
		}
		if got := i.leave(found, epoch.Add(after)); want < 0 && epoch.Add(after).Before(got) || want >= 0 && !got.Equal(epoch.Add(want)) {
			t.Errorf("after %s it is left alone until %s, want %s", after, got.Sub(epoch), want)
		}
	}
	const now = -1
	check(0, false, bundleRight, now)
	check(time.Second, true, bundleLacks, time.Second+injectTime)
	check(2*time.Second, false, bundleLacks, time.Second+injectTime)
	check(time.Minute, false, bundleLacks, time.Second+injectTime)
	check(time.Hour, false, bundleRight, now)
	check(2*time.Hour, false, bundleLacks, 2*time.Hour+injectTime) // another time
	check(3*time.Hour, false, bundleDiffers, now)
	check(4*time.Hour, true, bundleDiffers, 4*time.Hour+injectQuiet)
	check(4*time.Hour+time.Second, false, bundleDiffers, 4*time.Hour+injectQuiet)
	check(5*time.Hour, true, bundleRight, now)
}

func TestCainjectorIsAskedByAnAnnotation(t *testing.T) {
	t.Parallel()
	key := certmanagerv1.WantInjectFromSecretAnnotation
	tests := map[string]struct {
		before, after string
		wanted        bool
		changed       bool
	}{
		"it is to be asked":           {"", "infra/kube-prepull-trust", true, true},
		"it is asked":                 {"infra/kube-prepull-trust", "infra/kube-prepull-trust", true, false},
		"it is asked for another one": {"old/kube-prepull-trust", "infra/kube-prepull-trust", true, true},
		"it is to be asked no longer": {"infra/kube-prepull-trust", "", false, true},
		"it is not asked":             {"", "", false, false},
		"somebody else asks":          {"infra/another", "infra/another", false, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := bundled()
			if test.before != "" {
				config.Annotations = map[string]string{key: test.before}
			}
			if got := setInjected(config, "infra", test.wanted); got != test.changed || config.Annotations[key] != test.after {
				t.Errorf("changed %v to %q, want %v, %q", got, config.Annotations[key], test.changed, test.after)
			}
			if injected(config, "infra") != test.wanted || setInjected(config, "infra", test.wanted) {
				t.Error("it is not as wanted, or changes again")
			}
		})
	}
}
