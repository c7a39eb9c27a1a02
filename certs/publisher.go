package certs

import (
	"context"
	"crypto/x509"
	"fmt"
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

const (
	// lookTime is how often the leader looks whether cert-manager is there, and whether its objects are as they should be.
	lookTime = 15 * time.Second

	// workTime is how often it looks while cert-manager has something to do.
	workTime = 2 * time.Second
)

// publisher decides which certificates are served, makes the API server trust their CAs, and rotates our own one. It runs
// on the leader.
type publisher struct {
	*Source
	decision decision
	leaving  farewell
	late     time.Time // since when cainjector has something to inject, zero if it has not
}

func setupPublisher(mgr ctrl.Manager, s *Source) error {
	p := &publisher{Source: s}
	b := ctrl.NewControllerManagedBy(mgr).
		Named("cabundle").
		For(&corev1.Secret{}).
		Watches(&admissionregistrationv1.MutatingWebhookConfiguration{}, enqueue(s.secretKey())).
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
	pub := publication{certManager: p.decision.certManager(p.options.Mode, served, was, made, now)}
	if pub.certManager != was {
		logr.FromContextOrDiscard(ctx).Info("certificates come from elsewhere now", "certManager", pub.certManager)
	}
	pub.held = pub.certManager && !(made.good(now) && made.current(now))

	var secret corev1.Secret
	if err := p.client.Get(ctx, p.secretKey(), &secret); client.IgnoreNotFound(err) != nil {
		return reconcile.Result{}, fmt.Errorf("getting the CA: %w", err)
	}
	next, stored, err := p.ownAuthority(&secret, pub.certManager, now)
	if err != nil {
		return reconcile.Result{}, err
	}
	var own, cm origin
	if next != nil {
		own = &ownCA{authority: next}
	}
	if served {
		cm = made
	}
	if pub.wanted = wantedCAs(pub.certManager, own, cm); len(pub.wanted) == 0 {
		return reconcile.Result{RequeueAfter: p.untilLook(served, made, now)}, nil // what is trusted stays so
	}
	published, again, err := p.publish(ctx, config, pub, now)
	if err != nil {
		return reconcile.Result{}, err
	}
	if published && !stored {
		return reconcile.Result{}, p.store(ctx, &secret, next)
	}
	return reconcile.Result{RequeueAfter: p.until(again, next, served, made, now)}, nil
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

// ownAuthority is what the Secret of our own CA should hold, nil if nothing, and whether it does.
func (p *publisher) ownAuthority(secret *corev1.Secret, certManager bool, now time.Time) (next *authority, stored bool, err error) {
	absent := secret.ResourceVersion == "" // a replica makes it if it is needed
	if absent || certManager && p.options.Mode == v1alpha1.CertificatesCertManager {
		return nil, true, nil
	}
	return planAuthority(secret.Data, now)
}

// until is when something is to be done if nothing happens.
func (p *publisher) until(again time.Time, own *authority, served bool, made *issued, now time.Time) time.Duration {
	due := p.untilLook(served, made, now)
	if own != nil && (due == 0 || own.maintenance().Before(now.Add(due))) {
		due = max(own.maintenance().Sub(now), time.Second)
	}
	if !again.IsZero() && (due == 0 || again.Before(now.Add(due))) {
		due = max(again.Sub(now), time.Second)
	}
	return due
}

// untilLook is when to look after cert-manager again, zero for never.
func (p *publisher) untilLook(served bool, made *issued, now time.Time) time.Duration {
	switch {
	case p.manager == nil:
		return 0
	case served && !(made.good(now) && made.current(now)) && (p.decision.badSince.IsZero() || now.Before(p.decision.badSince.Add(fallbackTime))):
		return workTime
	default:
		return lookTime
	}
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

// publish puts the CAs that are wanted in every webhook of the configuration, unless they are there, and says whether
// they are, and until when there is something in it that leaves; without a configuration there is nobody to tell, and its
// creation is the event that tells. It returns false if somebody else is changing it.
func (p *publisher) publish(ctx context.Context, config *admissionregistrationv1.MutatingWebhookConfiguration, pub publication, now time.Time) (published bool, again time.Time, err error) {
	if config.ResourceVersion == "" {
		return true, time.Time{}, nil
	}
	stay, again := p.leaving.staying(trustOf(config), pub.wanted, pub.held, now)
	target := append(pub.wanted[:len(pub.wanted):len(pub.wanted)], stay...)
	if pub.certManager {
		if err := p.storeTrust(ctx, target); err != nil {
			return false, time.Time{}, err
		}
		due, missing := bundleDue(config, target)
		was := injected(config, p.options.Namespace)
		if missing && was {
			if p.late.IsZero() {
				p.late = now
			}
			if end := p.late.Add(injectTime); now.Before(end) {
				return false, end, nil
			}
		} else if !due && was {
			p.late = time.Time{}
			return true, again, nil
		}
	}
	p.late = time.Time{}
	// Merged by the webhooks' names and bound to what was read: nobody else's change is lost or brought back.
	patch := client.StrategicMergeFrom(config.DeepCopy(), client.MergeFromWithOptimisticLock{})
	marked, set := setInjected(config, p.options.Namespace, pub.certManager), setBundle(config, encodeBundle(target))
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

// publication is what the API server should be told.
type publication struct {
	certManager bool // cert-manager's certificates are served
	wanted      []*x509.Certificate
	held        bool // what is trusted stays so for the time being
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
