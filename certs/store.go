package certs

import (
	"context"
	"fmt"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// store are the objects with certificates and what is trusted.
type store struct {
	client    client.Client
	secrets   secrets // of cert-manager and its injector
	namespace string
}

// key of the Secret of our own CA, which stands for all objects.
func (s *store) key() types.NamespacedName {
	return types.NamespacedName{Namespace: s.namespace, Name: SecretName}
}

// configuration is the webhook configuration, without webhooks if there is none.
func (s *store) configuration(ctx context.Context) (*admissionregistrationv1.MutatingWebhookConfiguration, error) {
	var config admissionregistrationv1.MutatingWebhookConfiguration
	err := s.client.Get(ctx, types.NamespacedName{Name: WebhookConfigurationName}, &config)
	if client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("getting the webhook configuration: %w", err)
	}
	return &config, nil
}
