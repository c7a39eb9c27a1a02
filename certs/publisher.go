package certs

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/go-logr/logr"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/kube-prepull/kube-prepull/api/clock"
	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// WebhookConfigurationName is the MutatingWebhookConfiguration whose caBundles are kept. It is made by whoever
// installs kube-prepull.
const WebhookConfigurationName = v1alpha1.Name

// publisher makes the API server trust the CAs of what is served, and rotates our own one. It runs on the leader.
type publisher struct {
	store   store
	manager *certManager // nil unless the mode is for it
	mode    string
	host    string // the Service's, which certificates must be for
	clocks  clock.Clocks
	now     func() time.Time

	decision  decision
	injection injection
}

func setupPublisher(mgr ctrl.Manager, p *publisher) error {
	b := ctrl.NewControllerManagedBy(mgr).
		Named("cabundle").
		For(&corev1.Secret{}).
		Watches(&admissionregistrationv1.MutatingWebhookConfiguration{}, enqueue(p.store.key())).
		Watches(&corev1.ConfigMap{}, enqueue(p.store.key())).
		WatchesRawSource(once(p.store.key()))
	for name := range p.store.secrets.caches {
		b = b.WatchesRawSource(p.store.secrets.source(name, p.store.key()))
	}
	if err := b.Complete(reconcile.Func(p.reconcile)); err != nil {
		return fmt.Errorf("setting up the caBundle controller: %w", err)
	}
	return nil
}

// reconcile publishes what should be trusted, then stores it. A conflict with another write is no error: that write
// is the event that brings it back here.
func (p *publisher) reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	now := p.now()
	config, err := p.store.configuration(ctx)
	if err != nil {
		return reconcile.Result{}, err
	}
	sit := situation{mode: p.mode, inUse: injected(config, p.store.namespace), published: trustOf(config)}
	if sit.issued, sit.apiServed, err = p.issued(ctx, sit, now); err != nil {
		return reconcile.Result{}, err
	}
	var secret corev1.Secret
	if err := p.store.client.Get(ctx, p.store.key(), &secret); client.IgnoreNotFound(err) != nil {
		return reconcile.Result{}, fmt.Errorf("getting the CA: %w", err)
	}
	next, stored, err := sit.ownAuthority(&secret, now)
	if err != nil {
		return reconcile.Result{}, err
	}
	sit.own = next
	pub := p.decision.publication(sit, now)
	if pub.certManager != sit.inUse {
		logr.FromContextOrDiscard(ctx).Info("certificates come from elsewhere now", "certManager", pub.certManager)
	}
	look := p.nextLook(sit, now)
	if len(pub.trusted) == 0 {
		return reconcile.Result{RequeueAfter: untilFirst(now, look)}, nil // what is trusted stays so
	}
	published, again, err := p.publish(ctx, config, pub, now)
	if err != nil {
		return reconcile.Result{}, err
	}
	if published && !stored {
		return reconcile.Result{}, p.storeAuthority(ctx, &secret, next)
	}
	if err := p.store.publishTrust(ctx, pub.trusted); err != nil {
		return reconcile.Result{}, err
	}
	var maintenance time.Time
	if next != nil {
		maintenance = next.maintenance()
	}
	return reconcile.Result{RequeueAfter: untilFirst(now, look, again, maintenance)}, nil
}

// untilFirst is the time until the first of some moments, a second at least; zero if all of them are never.
func untilFirst(now time.Time, moments ...time.Time) time.Duration {
	moments = slices.DeleteFunc(moments, time.Time.IsZero)
	if len(moments) == 0 {
		return 0
	}
	return max(slices.MinFunc(moments, time.Time.Compare).Sub(now), time.Second)
}

// issued is what cert-manager has made, and whether its API is served: where it is required, it always counts as that. It
// also makes cert-manager do what is to be done.
func (p *publisher) issued(ctx context.Context, s situation, now time.Time) (made *issued, apiServed bool, err error) {
	if p.manager == nil {
		return &issued{}, false, nil
	}
	serving, err := p.store.secrets.data(ctx, ServingSecretName)
	if err != nil {
		return nil, false, err
	}
	ca, err := p.store.secrets.data(ctx, IssuerSecretName)
	if err != nil {
		return nil, false, err
	}
	made = parseIssued(serving, ca, p.host)
	u := upkeep{inUse: s.inUse, required: s.required(), reissue: made.certificate != nil && made.ca != nil && !made.current(now)}
	return made, p.manager.maintain(ctx, u, now) || u.required, nil
}

// nextLook is when to look after cert-manager again, zero for never.
func (p *publisher) nextLook(s situation, now time.Time) time.Time {
	switch {
	case p.manager == nil:
		return time.Time{}
	case s.apiServed && !s.issued.upToDate(now) && !p.decision.givenUp(now):
		return now.Add(p.clocks.CertManagerWork)
	default:
		return now.Add(p.clocks.CertManagerLook)
	}
}

// publish puts the CAs in every webhook of the configuration, unless they are there, and says whether they are, and when
// to look again; without a configuration there is nobody to tell, and its creation is the event that tells. It returns
// false if somebody else is changing it, or should do so.
func (p *publisher) publish(ctx context.Context, config *admissionregistrationv1.MutatingWebhookConfiguration, pub publication, now time.Time) (published bool, again time.Time, err error) {
	if config.ResourceVersion == "" {
		return true, time.Time{}, nil
	}
	again = pub.until
	if pub.certManager {
		changed, err := p.store.storeTrust(ctx, pub.trusted)
		if err != nil {
			return false, time.Time{}, err
		}
		if changed {
			p.injection.changed = now
		}
		if injected(config, p.store.namespace) {
			found := bundleOf(config, pub.trusted)
			if end := p.injection.leave(found, now); now.Before(end) {
				return false, end, nil
			}
			if found == bundleRight {
				return true, again, nil
			}
		}
	}
	// Merged by the webhooks' names and bound to what was read: nobody else's change is lost or brought back.
	patch := client.StrategicMergeFrom(config.DeepCopy(), client.MergeFromWithOptimisticLock{})
	marked, set := setInjected(config, p.store.namespace, pub.certManager), setBundle(config, encodeBundle(pub.trusted))
	if !marked && !set {
		return true, again, nil
	}
	err = p.store.client.Patch(ctx, config, patch)
	switch {
	case apierrors.IsConflict(err), apierrors.IsNotFound(err):
		return false, again, nil
	case err != nil:
		return false, time.Time{}, fmt.Errorf("publishing the CA: %w", err)
	}
	logr.FromContextOrDiscard(ctx).Info("published the CA")
	return true, again, nil
}

// storeAuthority writes the authority to the Secret as it was read.
func (p *publisher) storeAuthority(ctx context.Context, secret *corev1.Secret, a *authority) error {
	data, err := a.data()
	if err != nil {
		return err
	}
	secret.Data = data
	err = p.store.client.Update(ctx, secret)
	switch {
	case apierrors.IsConflict(err), apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return fmt.Errorf("storing the CA: %w", err)
	}
	logr.FromContextOrDiscard(ctx).Info("stored a CA", "notAfter", a.ca.NotAfter)
	return nil
}
