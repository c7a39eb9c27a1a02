// Package certs keeps the webhook's serving certificate, and the API server's trust in it. Certificates come from
// cert-manager, which issues one for all replicas, or with nothing but the cluster itself from a CA in a Secret, from
// which each replica issues its own in memory.
//
// The leader alone decides which of the two is served, and tells with an annotation of the webhook configuration; the
// replicas follow whatever their own settings are. Trust comes first: the leader publishes a CA in the caBundle, then
// stores it, and a replica keeps the certificate that it has until the next one is trusted. A CA that is replaced without
// notice, or no longer needed, is trusted a little longer, until every replica serves something else.
package certs

import (
	"fmt"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/discovery"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/kube-prepull/kube-prepull/api/clock"
	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// SecretName is the Secret that holds our own CA, in the manager's namespace. Deleting it revokes the CA: a new one is
// made, and half a minute later nothing that the old one signed is trusted any more.
const SecretName = v1alpha1.Name + "-ca"

// Options of a Source.
type Options struct {
	// Namespace that the manager runs in, with the Service kube-prepull.
	Namespace string
	// Mode is the configuration's key certificates.
	Mode string
	// Directory is the configuration's certificateDirectory.
	Directory string
	// Clocks are what is waited. They are not configured.
	Clocks clock.Clocks
}

// Source keeps this replica's serving certificate.
type Source struct {
	serving
	options Options
	names   []string
	store   store
	manager *certManager // nil unless the mode is for it
	// of the only worker
	own      ownCA
	handover handover
}

// NewSource returns a Source. It has no certificate before the manager that it is set up with has started.
func NewSource(o Options) *Source {
	host := v1alpha1.Name + "." + o.Namespace
	names := []string{host + ".svc", host + ".svc.cluster.local", host}
	return &Source{serving: serving{now: time.Now}, options: o, names: names, own: ownCA{names: names}, handover: handover{settleTime: o.Clocks.SettleTime}}
}

// SetupWithManager keeps the certificate on every replica, and the CA and the caBundle on the leader. The manager's
// cache must be made with CacheObjects, its scheme with AddToScheme.
func (s *Source) SetupWithManager(mgr ctrl.Manager) error {
	if s.options.Mode == v1alpha1.CertificatesDirectory {
		return mgr.Add(&directory{path: s.options.Directory, interval: s.options.Clocks.DirectoryInterval, serving: &s.serving, log: mgr.GetLogger().WithName("certificate")})
	}
	s.store = store{client: mgr.GetClient(), namespace: s.options.Namespace}
	names := []string{ServingSecretName}
	if usesCertManager(s.options.Mode) {
		names = append(names, IssuerSecretName, TrustSecretName)
		api, err := discovery.NewDiscoveryClientForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
		if err != nil {
			return fmt.Errorf("making the discovery client: %w", err)
		}
		s.manager = &certManager{client: s.store.client, live: mgr.GetAPIReader(), api: api, namespace: s.options.Namespace, names: s.names, pace: s.options.Clocks.CertManagerWork}
	}
	var err error
	if s.store.secrets, err = newSecrets(mgr, s.options.Namespace, names...); err != nil {
		return err
	}
	everyReplica := false
	err = ctrl.NewControllerManagedBy(mgr).
		Named("certificate").
		For(&corev1.Secret{}).
		Watches(&admissionregistrationv1.MutatingWebhookConfiguration{}, enqueue(s.store.key())).
		WatchesRawSource(s.store.secrets.source(ServingSecretName, s.store.key())).
		// The Secrets may not be there, and then no event would ever say so.
		WatchesRawSource(once(s.store.key())).
		WithOptions(controller.Options{NeedLeaderElection: &everyReplica}).
		Complete(reconcile.Func(s.reconcileLeaf))
	if err != nil {
		return fmt.Errorf("setting up the certificate controller: %w", err)
	}
	return setupPublisher(mgr, &publisher{
		store: s.store, manager: s.manager, mode: s.options.Mode, host: s.names[0], clocks: s.options.Clocks, now: s.now,
		decision: decision{retiring: retiring{time: s.options.Clocks.RetireTime}},
	})
}

// usesCertManager says whether a mode has to do with cert-manager.
func usesCertManager(mode string) bool {
	return mode == v1alpha1.CertificatesAuto || mode == v1alpha1.CertificatesCertManager
}
