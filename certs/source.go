// Package certs keeps the webhook's serving certificate, and the API server's trust in it, with nothing but the
// cluster itself: a CA in a Secret, from which each replica issues its own certificate in memory.
//
// In a rotation trust comes first: the leader publishes the next CA in the caBundle, then stores it in the Secret, and
// only what is stored signs. Every replica keeps the certificate that it has for as long as it is good; its CA is
// trusted until it expires. A CA that is replaced without notice is trusted a little longer, until every replica serves
// what its successor signed.
package certs

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// SecretName is the Secret that holds the CA, in the manager's namespace. Deleting it revokes the CA: a new one is
// made, and half a minute later nothing that the old one signed is trusted any more.
const SecretName = v1alpha1.Name + "-ca"

// Source issues this replica's serving certificate.
type Source struct {
	namespace string
	names     []string
	now       func() time.Time
	client    client.Client
	leaf      atomic.Pointer[tls.Certificate]
	handover  handover // of the only worker
}

// NewSource returns a Source for the Service kube-prepull in this namespace. It has no certificate before the manager
// that it is set up with has started.
func NewSource(namespace string) *Source {
	host := v1alpha1.Name + "." + namespace
	return &Source{
		namespace: namespace,
		names:     []string{host + ".svc", host + ".svc.cluster.local", host},
		now:       time.Now,
	}
}

// GetCertificate is for tls.Config. It fails as long as there is no certificate.
func (s *Source) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	leaf := s.leaf.Load()
	if leaf == nil {
		return nil, errors.New("no serving certificate yet")
	}
	return leaf, nil
}

// Ready is a health check: it passes while there is a certificate that has not expired.
func (s *Source) Ready(*http.Request) error {
	certificate, err := s.GetCertificate(nil)
	if err != nil {
		return err
	}
	if expiry := certificate.Leaf.NotAfter; !s.now().Before(expiry) {
		return fmt.Errorf("the serving certificate expired at %s", expiry.Format(time.RFC3339))
	}
	return nil
}

// SetupWithManager keeps the certificate on every replica, and the CA and the caBundle on the leader. The manager's
// cache must be made with CacheObjects.
func (s *Source) SetupWithManager(mgr ctrl.Manager) error {
	s.client = mgr.GetClient()
	everyReplica := false
	err := ctrl.NewControllerManagedBy(mgr).
		Named("certificate").
		For(&corev1.Secret{}).
		Watches(&admissionregistrationv1.MutatingWebhookConfiguration{}, enqueue(s.secretKey())).
		// The Secret may not be there, and then no event would ever say so.
		WatchesRawSource(source.Func(func(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
			queue.Add(reconcile.Request{NamespacedName: s.secretKey()})
			return nil
		})).
		WithOptions(controller.Options{NeedLeaderElection: &everyReplica}).
		Complete(reconcile.Func(s.reconcileLeaf))
	if err != nil {
		return fmt.Errorf("setting up the certificate controller: %w", err)
	}
	return setupPublisher(mgr, s)
}

func (s *Source) secretKey() types.NamespacedName {
	return types.NamespacedName{Namespace: s.namespace, Name: SecretName}
}

// reconcileLeaf sees to it that there is a CA, and that this replica has a certificate of it.
func (s *Source) reconcileLeaf(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	log := logr.FromContextOrDiscard(ctx)
	var secret corev1.Secret
	err := s.client.Get(ctx, s.secretKey(), &secret)
	switch {
	case apierrors.IsNotFound(err):
		// Any replica may make the first CA: they cannot wait for a leader. What was created comes back as an event.
		return reconcile.Result{}, s.createSecret(ctx)
	case err != nil:
		return reconcile.Result{}, fmt.Errorf("getting the CA: %w", err)
	}
	now := s.now()
	a, err := parseAuthority(secret.Data)
	if err != nil {
		log.Info("the Secret of the CA is damaged, the leader will replace it", "reason", err.Error())
		return reconcile.Result{}, nil
	}
	if !now.Before(a.ca.NotAfter) {
		log.Info("the CA has expired, the leader will replace it", "notAfter", a.ca.NotAfter)
		return reconcile.Result{}, nil
	}
	leaf := s.leaf.Load()
	if leafDue(leaf, a, now) {
		published, err := s.published(ctx)
		if err != nil {
			return reconcile.Result{}, err
		}
		if wait := s.handover.wait(leaf, a, published, now); wait > 0 {
			return reconcile.Result{RequeueAfter: wait}, nil
		}
		if leaf, err = a.leaf(s.names, now); err != nil {
			return reconcile.Result{}, err
		}
		s.leaf.Store(leaf)
		log.Info("issued a serving certificate", "notAfter", leaf.Leaf.NotAfter)
	}
	return reconcile.Result{RequeueAfter: untilRenewal(leaf, now)}, nil
}

// published is what the API server is told to trust; nothing if there is no webhook configuration.
func (s *Source) published(ctx context.Context) (trust, error) {
	var config admissionregistrationv1.MutatingWebhookConfiguration
	err := s.client.Get(ctx, types.NamespacedName{Name: WebhookConfigurationName}, &config)
	if client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("getting the webhook configuration: %w", err)
	}
	return trustOf(&config), nil
}

// untilRenewal is how long a replica keeps its certificate, a minute at least: under a CA that is about to expire two
// thirds of a certificate's life are over when it is issued, and zero would mean never.
func untilRenewal(leaf *tls.Certificate, now time.Time) time.Duration {
	return max(renewal(leaf.Leaf).Sub(now), time.Minute)
}

// leafDue says whether a replica needs a new certificate: it has none, two thirds of its life are over, or its CA is
// no longer trusted. A rotation of the CA alone is no reason.
func leafDue(leaf *tls.Certificate, a *authority, now time.Time) bool {
	return leaf == nil || !now.Before(renewal(leaf.Leaf)) || !a.accepts(leaf, now)
}

// createSecret stores a first CA, unless another replica is faster.
func (s *Source) createSecret(ctx context.Context) error {
	a, err := newAuthority(s.now())
	if err != nil {
		return err
	}
	data, err := a.data()
	if err != nil {
		return err
	}
	err = s.client.Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.namespace,
			Name:      SecretName,
			Labels:    map[string]string{v1alpha1.LabelName: v1alpha1.Name, v1alpha1.LabelComponent: v1alpha1.ComponentWebhook},
		},
		Type: corev1.SecretTypeTLS,
		Data: data,
	})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("storing a new CA: %w", err)
	}
	return nil
}
