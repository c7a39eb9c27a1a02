package certs

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// reconcileLeaf sees to it that this replica has the certificate that the leader wants it to have.
func (s *Source) reconcileLeaf(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	config, err := s.store.configuration(ctx)
	if err != nil {
		return reconcile.Result{}, err
	}
	if s.own.authority, err = s.authority(ctx); err != nil {
		return reconcile.Result{}, err
	}
	serving, err := s.store.secrets.data(ctx, ServingSecretName)
	if err != nil {
		return reconcile.Result{}, err
	}
	origins := []origin{&s.own, parseIssued(serving, nil, s.names[0])}
	if injected(config, s.options.Namespace) {
		origins[0], origins[1] = origins[1], origins[0]
	}
	now, before := s.now(), s.leaf.Load()
	leaf, wait, err := s.handover.next(before, origins, trustOf(config), now)
	if err != nil {
		return reconcile.Result{}, err
	}
	if leaf == nil {
		s.wait(ctx)
		return reconcile.Result{RequeueAfter: s.options.Clocks.LeafRetry}, nil
	}
	if before == nil || !before.Leaf.Equal(leaf.Leaf) {
		s.leaf.Store(leaf)
		logr.FromContextOrDiscard(ctx).Info("serving a certificate", "issuer", leaf.Leaf.Issuer.CommonName, "notAfter", leaf.Leaf.NotAfter)
	}
	if wait == 0 {
		wait = s.untilDue(leaf, now)
	}
	return reconcile.Result{RequeueAfter: wait}, nil
}

// untilDue is how long nothing has to be done if nothing happens: until the certificate ends, or our own is to be renewed,
// a minute at least. Under a CA that is about to expire two thirds of a certificate's life are over when it is issued, and
// zero would mean never.
func (s *Source) untilDue(leaf *tls.Certificate, now time.Time) time.Duration {
	due := leaf.Leaf.NotAfter
	if s.own.authority != nil && s.own.last != nil && renewal(s.own.last.Leaf).Before(due) {
		due = renewal(s.own.last.Leaf)
	}
	return max(due.Sub(now), time.Minute)
}

// wait notes what a replica without a certificate waits for.
func (s *Source) wait(ctx context.Context) {
	waiting := "Secret " + SecretName
	switch {
	case s.options.Mode == v1alpha1.CertificatesCertManager:
		waiting = s.manager.waiting(ctx)
	case s.own.authority != nil:
		waiting = "the leader to publish the CA"
	}
	if before := s.waiting.Swap(&waiting); before == nil || *before != waiting {
		logr.FromContextOrDiscard(ctx).Info("no serving certificate yet", "waitingFor", waiting)
	}
}

// authority is our own CA, nil if there is none of use. It makes the first one, where one may be needed.
func (s *Source) authority(ctx context.Context) (*authority, error) {
	log := logr.FromContextOrDiscard(ctx)
	var secret corev1.Secret
	err := s.store.client.Get(ctx, s.store.key(), &secret)
	switch {
	case apierrors.IsNotFound(err):
		if s.options.Mode == v1alpha1.CertificatesCertManager {
			return nil, nil
		}
		// Any replica may make the first CA: they cannot wait for a leader. What was created comes back as an event.
		return nil, s.createSecret(ctx)
	case err != nil:
		return nil, fmt.Errorf("getting the CA: %w", err)
	}
	a, err := parseAuthority(secret.Data)
	if err != nil {
		log.Info("the Secret of the CA is damaged, the leader will replace it", "reason", err.Error())
		return nil, nil
	}
	if !s.now().Before(a.ca.NotAfter) {
		log.Info("the CA has expired, the leader will replace it", "notAfter", a.ca.NotAfter)
		return nil, nil
	}
	return a, nil
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
	err = s.store.client.Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.options.Namespace, Name: SecretName, Labels: labels()},
		Type:       corev1.SecretTypeTLS,
		Data:       data,
	})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("storing a new CA: %w", err)
	}
	return nil
}

// labels are on everything that this package makes.
func labels() map[string]string {
	return map[string]string{v1alpha1.LabelName: v1alpha1.Name, v1alpha1.LabelComponent: v1alpha1.ComponentWebhook}
}
