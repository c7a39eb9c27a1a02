package certs

import (
	"context"
	"crypto/x509"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// TrustConfigMapName is the ConfigMap with all CAs that are trusted, under ca.crt, for those who read metrics: unlike the
// Secrets it has no key in it. It is made by whoever installs kube-prepull.
const TrustConfigMapName = v1alpha1.Name + "-trust"

// publishTrust writes the CAs to the ConfigMap, unless they are there. Without a ConfigMap there is nobody to tell.
func (s *store) publishTrust(ctx context.Context, cas []*x509.Certificate) error {
	var config corev1.ConfigMap
	err := s.client.Get(ctx, types.NamespacedName{Namespace: s.namespace, Name: TrustConfigMapName}, &config)
	bundle := string(encodeBundle(cas))
	if err == nil && config.Data[keyTrusted] != bundle {
		patch := client.MergeFrom(config.DeepCopy())
		if config.Data == nil {
			config.Data = map[string]string{}
		}
		config.Data[keyTrusted] = bundle
		err = s.client.Patch(ctx, &config, patch)
	}
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("publishing the trusted CAs: %w", err)
	}
	return nil
}
