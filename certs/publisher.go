package certs

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// WebhookConfigurationName is the MutatingWebhookConfiguration whose caBundles are kept. It is made by whoever
// installs kube-prepull.
const WebhookConfigurationName = v1alpha1.Name

// CacheObjects limits the manager's cache to the two objects that this package watches: no other Secret of the cluster
// is held in memory. Whoever needs another one must read past the cache.
func CacheObjects(namespace string) map[client.Object]cache.ByObject {
	named := func(name string) fields.Selector { return fields.OneTermEqualSelector("metadata.name", name) }
	return map[client.Object]cache.ByObject{
		&corev1.Secret{}: {
			Namespaces: map[string]cache.Config{namespace: {FieldSelector: named(SecretName)}},
		},
		&admissionregistrationv1.MutatingWebhookConfiguration{}: {Field: named(WebhookConfigurationName)},
	}
}

// publisher makes the API server trust the CA, and rotates it. It runs on the leader.
type publisher struct {
	client    client.Client
	secretKey types.NamespacedName
	now       func() time.Time
	leaving   farewell
}

func setupPublisher(mgr ctrl.Manager, s *Source) error {
	p := &publisher{client: s.client, secretKey: s.secretKey(), now: s.now}
	err := ctrl.NewControllerManagedBy(mgr).
		Named("cabundle").
		For(&corev1.Secret{}).
		Watches(&admissionregistrationv1.MutatingWebhookConfiguration{}, enqueue(p.secretKey)).
		Complete(reconcile.Func(p.reconcile))
	if err != nil {
		return fmt.Errorf("setting up the caBundle controller: %w", err)
	}
	return nil
}

// enqueue asks for one object, whatever the event is about.
func enqueue(key types.NamespacedName) handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request {
		return []reconcile.Request{{NamespacedName: key}}
	})
}

// reconcile publishes what should be trusted, then stores it. A conflict with another write is no error: that write
// is the event that brings it back here.
func (p *publisher) reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	var secret corev1.Secret
	if err := p.client.Get(ctx, p.secretKey, &secret); err != nil {
		if apierrors.IsNotFound(err) {
			return reconcile.Result{}, nil // the next event is its creation
		}
		return reconcile.Result{}, fmt.Errorf("getting the CA: %w", err)
	}
	now := p.now()
	next, stored, err := planAuthority(secret.Data, now)
	if err != nil {
		return reconcile.Result{}, err
	}
	published, until, err := p.publish(ctx, next, now)
	if err != nil || !published {
		return reconcile.Result{}, err
	}
	if !stored {
		return reconcile.Result{}, p.store(ctx, &secret, next)
	}
	again := next.maintenance()
	if !until.IsZero() && until.Before(again) {
		again = until
	}
	return reconcile.Result{RequeueAfter: max(again.Sub(now), time.Second)}, nil
}

// planAuthority returns what the Secret should hold, and whether it does.
func planAuthority(data map[string][]byte, now time.Time) (next *authority, stored bool, err error) {
	current, err := parseAuthority(data)
	if err != nil {
		next, err = newAuthority(now)
		return next, false, err
	}
	next, err = current.maintained(now)
	return next, next == current, err
}

// publish puts what the authority trusts in every webhook of the configuration, unless it is there, and until when there
// is something in it that leaves; without a configuration there is nobody to tell, and its creation is the event that
// tells. It returns false if somebody else is changing it.
func (p *publisher) publish(ctx context.Context, a *authority, now time.Time) (published bool, until time.Time, err error) {
	var config admissionregistrationv1.MutatingWebhookConfiguration
	if err := p.client.Get(ctx, types.NamespacedName{Name: WebhookConfigurationName}, &config); err != nil {
		if apierrors.IsNotFound(err) {
			return true, time.Time{}, nil
		}
		return false, time.Time{}, fmt.Errorf("getting the webhook configuration: %w", err)
	}
	// Merged by the webhooks' names and bound to what was read: nobody else's change is lost or brought back.
	patch := client.StrategicMergeFrom(config.DeepCopy(), client.MergeFromWithOptimisticLock{})
	stay, until := p.leaving.staying(trustOf(&config), a, now)
	if !setBundle(&config, append(a.bundle(), encodeBundle(stay)...)) {
		return true, until, nil
	}
	err = p.client.Patch(ctx, &config, patch)
	switch {
	case apierrors.IsConflict(err), apierrors.IsNotFound(err):
		return false, time.Time{}, nil
	case err != nil:
		return false, time.Time{}, fmt.Errorf("publishing the CA: %w", err)
	}
	logr.FromContextOrDiscard(ctx).Info("published the CA")
	return true, until, nil
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

// store writes the authority to the Secret as it was read.
func (p *publisher) store(ctx context.Context, secret *corev1.Secret, a *authority) error {
	data, err := a.data()
	if err != nil {
		return err
	}
	secret.Data = data
	err = p.client.Update(ctx, secret)
	switch {
	case apierrors.IsConflict(err), apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return fmt.Errorf("storing the CA: %w", err)
	}
	logr.FromContextOrDiscard(ctx).Info("stored a CA", "notAfter", a.ca.NotAfter)
	return nil
}
