package certs

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// With cert-manager's certificates its cainjector brings the CAs from a Secret to the webhook configuration. It adds to
// what is there (before 1.19 it replaced that), so that what is to leave is taken out here.

// TrustSecretName is the Secret with all CAs that are trusted.
const TrustSecretName = v1alpha1.Name + "-trust"

const (
	// injectTime is how long cainjector may take. After that the CAs are put in the configuration without it.
	injectTime = 5 * time.Second

	// injectQuiet is how long after a change of the Secret nothing is taken out of the configuration: cainjector may just be
	// adding to what it saw before.
	injectQuiet = 2 * time.Second
)

// injection is the leader's memory of what it has left to cainjector. The zero value is ready.
type injection struct {
	missing time.Time // since when CAs are missing, zero if none are
	changed time.Time // when the Secret was changed
}

// leave is until when the configuration is left to cainjector, zero if it need not be.
func (i *injection) leave(b bundle, now time.Time) time.Time {
	if b != bundleLacks {
		i.missing = time.Time{}
	}
	switch b {
	case bundleDiffers:
		return i.changed.Add(injectQuiet)
	case bundleLacks:
		if i.missing.IsZero() {
			i.missing = now
		}
		return i.missing.Add(injectTime)
	}
	return time.Time{}
}

// injected says whether it is decided that cert-manager's certificates are served: then cainjector is asked for the CAs.
func injected(config *admissionregistrationv1.MutatingWebhookConfiguration, namespace string) bool {
	return config.Annotations[certmanagerv1.WantInjectFromSecretAnnotation] == namespace+"/"+TrustSecretName
}

// setInjected asks for cainjector, or no longer, and says whether that changed anything.
func setInjected(config *admissionregistrationv1.MutatingWebhookConfiguration, namespace string, wanted bool) bool {
	if injected(config, namespace) == wanted {
		return false
	}
	if wanted {
		metav1.SetMetaDataAnnotation(&config.ObjectMeta, certmanagerv1.WantInjectFromSecretAnnotation, namespace+"/"+TrustSecretName)
	} else {
		delete(config.Annotations, certmanagerv1.WantInjectFromSecretAnnotation)
	}
	return true
}

// setBundle puts the bundle in every webhook and says whether that changed anything.
func setBundle(config *admissionregistrationv1.MutatingWebhookConfiguration, bundle []byte) bool {
	changed := false
	for i := range config.Webhooks {
		clientConfig := &config.Webhooks[i].ClientConfig
		if !bytes.Equal(clientConfig.CABundle, bundle) {
			clientConfig.CABundle = bundle
			changed = true
		}
	}
	return changed
}

// bundle is how what webhooks trust differs from what they should.
type bundle int

const (
	// bundleRight: every webhook has just these CAs, in whatever order.
	bundleRight bundle = iota
	// bundleLacks: nothing but that some are missing, which is what cainjector sees to.
	bundleLacks
	// bundleDiffers in another way.
	bundleDiffers
)

// bundleOf compares what webhooks trust with the CAs that they should.
func bundleOf(config *admissionregistrationv1.MutatingWebhookConfiguration, cas []*x509.Certificate) bundle {
	found := bundleRight
	for i, has := range trustOf(config) {
		if !bytes.Equal(encodeBundle(has), config.Webhooks[i].ClientConfig.CABundle) || slices.ContainsFunc(has, func(ca *x509.Certificate) bool { return !slices.ContainsFunc(cas, ca.Equal) }) {
			return bundleDiffers
		}
		if len(has) < len(cas) {
			found = bundleLacks
		}
	}
	return found
}

// storeTrust writes the CAs to the Secret that cainjector reads, and says whether that changed it.
func (s *store) storeTrust(ctx context.Context, cas []*x509.Certificate) (changed bool, err error) {
	secret, err := s.secrets.get(ctx, TrustSecretName)
	if err != nil {
		return false, err
	}
	content := encodeBundle(cas)
	if bytes.Equal(secret.Data[keyTrusted], content) && secret.Annotations[certmanagerv1.AllowsInjectionFromSecretAnnotation] == "true" {
		return false, nil
	}
	metav1.SetMetaDataAnnotation(&secret.ObjectMeta, certmanagerv1.AllowsInjectionFromSecretAnnotation, "true")
	secret.Data = map[string][]byte{keyTrusted: content}
	if secret.ResourceVersion == "" {
		secret.Namespace, secret.Name, secret.Labels, secret.Type = s.namespace, TrustSecretName, labels(), corev1.SecretTypeOpaque
		err = s.client.Create(ctx, secret)
	} else {
		err = s.client.Update(ctx, secret)
	}
	// Somebody else's write is the event that brings it back here, and until then the old CAs are in it.
	if err != nil && !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) && !apierrors.IsNotFound(err) {
		return false, fmt.Errorf("storing the trusted CAs: %w", err)
	}
	return true, nil
}
