package certs

import (
	"context"
	"fmt"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

// CacheObjects limits the manager's cache to the objects that this package watches in any case: no other Secret of
// the cluster is held in memory. Whoever needs another one must read past the cache.
func CacheObjects(namespace string) map[client.Object]cache.ByObject {
	return map[client.Object]cache.ByObject{
		&corev1.Secret{}: {
			Namespaces: map[string]cache.Config{namespace: {FieldSelector: named(SecretName)}},
		},
		&corev1.ConfigMap{}: {
			Namespaces: map[string]cache.Config{namespace: {FieldSelector: named(TrustConfigMapName)}},
		},
		&admissionregistrationv1.MutatingWebhookConfiguration{}: {Field: named(WebhookConfigurationName)},
	}
}

func named(name string) fields.Selector { return fields.OneTermEqualSelector("metadata.name", name) }

// secrets are the Secrets that cert-manager and its injector have to do with, by name. Each has a cache of its own: a
// selector has one name, and without a name the manager may list no Secret.
type secrets struct {
	namespace string
	caches    map[string]cache.Cache
}

func newSecrets(mgr ctrl.Manager, namespace string, names ...string) (secrets, error) {
	s := secrets{namespace: namespace, caches: map[string]cache.Cache{}}
	for _, name := range names {
		c, err := cache.New(mgr.GetConfig(), cache.Options{
			HTTPClient:        mgr.GetHTTPClient(),
			Scheme:            mgr.GetScheme(),
			Mapper:            mgr.GetRESTMapper(),
			DefaultNamespaces: map[string]cache.Config{namespace: {FieldSelector: named(name)}},
			DefaultTransform:  cache.TransformStripManagedFields(),
		})
		if err != nil {
			return secrets{}, fmt.Errorf("making the cache of Secret %s: %w", name, err)
		}
		if err := mgr.Add(startedFirst{c}); err != nil {
			return secrets{}, fmt.Errorf("adding the cache of Secret %s: %w", name, err)
		}
		s.caches[name] = c
	}
	return s, nil
}

// startedFirst makes the manager start a cache with its own one, before any controller.
type startedFirst struct{ cache.Cache }

func (s startedFirst) GetCache() cache.Cache { return s.Cache }

// source asks for one object when a Secret changes.
func (s secrets) source(name string, key types.NamespacedName) source.Source {
	asked := func(context.Context, *corev1.Secret) []reconcile.Request {
		return []reconcile.Request{{NamespacedName: key}}
	}
	return source.Kind(s.caches[name], &corev1.Secret{}, handler.TypedEnqueueRequestsFromMapFunc(asked))
}

// data is what a Secret holds, nil if there is none.
func (s secrets) data(ctx context.Context, name string) (map[string][]byte, error) {
	secret, err := s.get(ctx, name)
	return secret.Data, err
}

// get returns a Secret, without a resource version if there is none.
func (s secrets) get(ctx context.Context, name string) (*corev1.Secret, error) {
	var secret corev1.Secret
	err := s.caches[name].Get(ctx, types.NamespacedName{Namespace: s.namespace, Name: name}, &secret)
	if client.IgnoreNotFound(err) != nil {
		return &secret, fmt.Errorf("getting Secret %s: %w", name, err)
	}
	return &secret, nil
}

// enqueue asks for one object, whatever the event is about.
func enqueue(key types.NamespacedName) handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request {
		return []reconcile.Request{{NamespacedName: key}}
	})
}

// once asks for one object at the start.
func once(key types.NamespacedName) source.Source {
	return source.Func(func(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		queue.Add(reconcile.Request{NamespacedName: key})
		return nil
	})
}
