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

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// WebhookConfigurationName is the MutatingWebhookConfiguration whose caBundles are kept. It is made by whoever
// installs kube-prepull.
const WebhookConfigurationName = v1alpha1.Name

// publisher makes the API server trust the CAs of what is served, and rotates our own one. It runs on the leader.
type publisher struct {
	*Source
	decision  decision
	injection injection
}

func setupPublisher(mgr ctrl.Manager, s *Source) error {
	p := &publisher{Source: s, decision: decision{leaving: farewell{time: s.options.Clocks.FarewellTime}}}
	b := ctrl.NewControllerManagedBy(mgr).
		Named("cabundle").
		For(&corev1.Secret{}).
		Watches(&admissionregistrationv1.MutatingWebhookConfiguration{}, enqueue(s.secretKey())).
		Watches(&corev1.ConfigMap{}, enqueue(s.secretKey())).
		WatchesRawSource(once(s.secretKey()))
	for name := range s.secrets.caches {
		b = b.WatchesRawSource(s.secrets.source(name, s.secretKey()))
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
	config, err := p.configuration(ctx)
	if err != nil {
		return reconcile.Result{}, err
	}
	was := injected(config, p.options.Namespace)
	made, served, err := p.made(ctx, was, now)
	if err != nil {
		return reconcile.Result{}, err
	}
	var secret corev1.Secret
	if err := p.client.Get(ctx, p.secretKey(), &secret); client.IgnoreNotFound(err) != nil {
		return reconcile.Result{}, fmt.Errorf("getting the CA: %w", err)
	}
	next, stored, err := ownAuthority(secret.ResourceVersion != "", secret.Data, p.options.Mode, was, now)
	if err != nil {
		return reconcile.Result{}, err
	}
	pub := p.decision.publication(p.options.Mode, served, was, made, next, trustOf(config), now)
	if pub.certManager != was {
		logr.FromContextOrDiscard(ctx).Info("certificates come from elsewhere now", "certManager", pub.certManager)
	}
	look := p.nextLook(served, made, now)
	if len(pub.trusted) == 0 {
		return reconcile.Result{RequeueAfter: untilFirst(now, look)}, nil // what is trusted stays so
	}
	published, again, err := p.publish(ctx, config, pub, now)
	if err != nil {
		return reconcile.Result{}, err
	}
	if published && !stored {
		return reconcile.Result{}, p.store(ctx, &secret, next)
	}
	if err := p.tell(ctx, pub.trusted); err != nil {
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

// made is what cert-manager has made, and whether its API is served: in the mode that forces it, it always counts as
// that. It also makes cert-manager do what is to be done.
func (p *publisher) made(ctx context.Context, was bool, now time.Time) (made *issued, served bool, err error) {
	if p.manager == nil {
		return &issued{}, false, nil
	}
	serving, err := p.secrets.data(ctx, ServingSecretName)
	if err != nil {
		return nil, false, err
	}
	ca, err := p.secrets.data(ctx, IssuerSecretName)
	if err != nil {
		return nil, false, err
	}
	made = parseIssued(serving, ca, p.names[0])
	reissue := made.certificate != nil && made.ca != nil && !made.current(now)
	forced := p.options.Mode == v1alpha1.CertificatesCertManager
	return made, p.manager.maintain(ctx, was, forced, reissue, now) || forced, nil
}

// nextLook is when to look after cert-manager again, zero for never.
func (p *publisher) nextLook(served bool, made *issued, now time.Time) time.Time {
	switch {
	case p.manager == nil:
		return time.Time{}
	case served && !(made.good(now) && made.current(now)) && !p.decision.givenUp(now):
		return now.Add(p.options.Clocks.CertManagerWork)
	default:
		return now.Add(p.options.Clocks.CertManagerLook)
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
		changed, err := p.storeTrust(ctx, pub.trusted)
		if err != nil {
			return false, time.Time{}, err
		}
		if injected(config, p.options.Namespace) {
			due, missing := bundleDue(config, pub.trusted)
			if end := p.injection.leave(changed, due, missing, now); now.Before(end) {
				return false, end, nil
			}
			if !due {
				return true, again, nil
			}
		}
	}
	// Merged by the webhooks' names and bound to what was read: nobody else's change is lost or brought back.
	patch := client.StrategicMergeFrom(config.DeepCopy(), client.MergeFromWithOptimisticLock{})
	marked, set := setInjected(config, p.options.Namespace, pub.certManager), setBundle(config, encodeBundle(pub.trusted))
	if !marked && !set {
		return true, again, nil
	}
	err = p.client.Patch(ctx, config, patch)
	switch {
	case apierrors.IsConflict(err), apierrors.IsNotFound(err):
		return false, again, nil
	case err != nil:
		return false, time.Time{}, fmt.Errorf("publishing the CA: %w", err)
	}
	logr.FromContextOrDiscard(ctx).Info("published the CA")
	return true, again, nil
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
