package certs

import (
	"context"
	"fmt"
	"slices"
	"time"

	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	certmanagermeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// AddToScheme adds the types of cert-manager's API that this package uses.
var AddToScheme = certmanagerv1.AddToScheme

// fieldOwner of what is applied for cert-manager.
const fieldOwner = client.FieldOwner(v1alpha1.Name + "-certs")

// certManager makes cert-manager issue. Its API may come and go, so that nothing of it is watched: what matters are the
// Secrets that it writes.
type certManager struct {
	client    client.Client
	live      client.Reader
	api       discovery.ServerResourcesInterfaceWithContext
	namespace string
	names     []string
	pace      time.Duration // of looking, at most
	// what the leader remembers
	looked  time.Time
	served  bool
	pending string
}

// upkeep is what cert-manager is needed for.
type upkeep struct {
	// inUse is whether its certificates are, and required whether nothing else will do.
	inUse, required bool

	// reissue is set if its certificate is not of its CA.
	reissue bool
}

// maintain sees to it that cert-manager has its objects and issues again if it has to, and says whether its API is served.
// It looks no more often than its pace.
func (m *certManager) maintain(ctx context.Context, u upkeep, now time.Time) bool {
	if m.looked.IsZero() {
		m.served = u.inUse // until it is known
	}
	if now.Before(m.looked.Add(m.pace * 3 / 4)) {
		return m.served
	}
	m.looked = now
	pending := m.look(ctx, u.reissue)
	if pending != m.pending && pending != "" && (m.served || u.required) {
		logr.FromContextOrDiscard(ctx).Info("waiting for cert-manager", "for", pending)
	}
	m.pending = pending
	return m.served
}

// look returns what cert-manager has not done yet.
func (m *certManager) look(ctx context.Context, reissue bool) string {
	served, err := m.isServed(ctx)
	if err != nil {
		return err.Error() // and it counts as what it was
	}
	if m.served = served; !served {
		return "the API " + certmanagerv1.SchemeGroupVersion.String() + ", which is not served"
	}
	stored, err := m.stored(ctx)
	if err == nil {
		err = m.apply(ctx, stored)
	}
	if err == nil && reissue {
		err = m.reissue(ctx, stored)
	}
	if err != nil {
		return err.Error()
	}
	return notReady(stored)
}

// waiting is what a replica without a certificate waits for.
func (m *certManager) waiting(ctx context.Context) string {
	served, err := m.isServed(ctx)
	if err == nil && !served {
		return "the API " + certmanagerv1.SchemeGroupVersion.String() + ", which is not served"
	}
	var stored []client.Object
	if err == nil {
		stored, err = m.stored(ctx)
	}
	if err != nil {
		return "cert-manager: " + err.Error()
	}
	if pending := notReady(stored); pending != "" {
		return pending
	}
	return "Secret " + ServingSecretName
}

// isServed says whether the API server knows the kinds that are needed.
func (m *certManager) isServed(ctx context.Context) (bool, error) {
	list, err := m.api.ServerResourcesForGroupVersionWithContext(ctx, certmanagerv1.SchemeGroupVersion.String())
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("looking for cert-manager's API: %w", err)
	}
	for _, name := range []string{"issuers", "certificates"} {
		if !slices.ContainsFunc(list.APIResources, func(r metav1.APIResource) bool { return r.Name == name }) {
			return false, nil
		}
	}
	return true, nil
}

// stored are the Issuers and Certificates in the namespace.
func (m *certManager) stored(ctx context.Context) ([]client.Object, error) {
	var issuers certmanagerv1.IssuerList
	if err := m.live.List(ctx, &issuers, client.InNamespace(m.namespace)); err != nil {
		return nil, fmt.Errorf("listing Issuers: %w", err)
	}
	var certificates certmanagerv1.CertificateList
	if err := m.live.List(ctx, &certificates, client.InNamespace(m.namespace)); err != nil {
		return nil, fmt.Errorf("listing Certificates: %w", err)
	}
	var objects []client.Object
	for i := range issuers.Items {
		objects = append(objects, &issuers.Items[i])
	}
	for i := range certificates.Items {
		objects = append(objects, &certificates.Items[i])
	}
	return objects, nil
}

// apply writes what is not stored as it should be.
func (m *certManager) apply(ctx context.Context, stored []client.Object) error {
	for _, want := range certManagerObjects(m.namespace, m.names) {
		if slices.ContainsFunc(stored, func(o client.Object) bool { return covers(o, want) }) {
			continue
		}
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(want)
		if err != nil {
			return fmt.Errorf("converting %T %s: %w", want, want.GetName(), err)
		}
		delete(content, "status")
		u := &unstructured.Unstructured{Object: content}
		if err := m.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(u), fieldOwner, client.ForceOwnership); err != nil {
			return fmt.Errorf("applying %s %s: %w", u.GetKind(), u.GetName(), err)
		}
		logr.FromContextOrDiscard(ctx).Info("applied", "kind", u.GetKind(), "name", u.GetName())
	}
	return nil
}

// covers says whether an object is the wanted one and has all that it sets.
func covers(stored, want client.Object) bool {
	if stored.GetName() != want.GetName() {
		return false
	}
	for key, value := range want.GetLabels() {
		if stored.GetLabels()[key] != value {
			return false
		}
	}
	switch want := want.(type) {
	case *certmanagerv1.Issuer:
		issuer, ok := stored.(*certmanagerv1.Issuer)
		return ok && equality.Semantic.DeepDerivative(want.Spec, issuer.Spec)
	case *certmanagerv1.Certificate:
		certificate, ok := stored.(*certmanagerv1.Certificate)
		return ok && equality.Semantic.DeepDerivative(want.Spec, certificate.Spec)
	}
	return false
}

// reissue asks for another serving certificate as cmctl renew does, with a condition, unless that is under way: the old
// one stays in its Secret meanwhile.
func (m *certManager) reissue(ctx context.Context, stored []client.Object) error {
	i := slices.IndexFunc(stored, func(o client.Object) bool {
		_, ok := o.(*certmanagerv1.Certificate)
		return ok && o.GetName() == ServingSecretName
	})
	if i < 0 {
		return nil
	}
	certificate := stored[i].(*certmanagerv1.Certificate)
	issuing := func(c certmanagerv1.CertificateCondition) bool {
		return c.Type == certmanagerv1.CertificateConditionIssuing
	}
	conditions := certificate.Status.Conditions
	if slices.ContainsFunc(conditions, func(c certmanagerv1.CertificateCondition) bool {
		return issuing(c) && c.Status == certmanagermeta.ConditionTrue
	}) {
		return nil
	}
	patch := client.MergeFromWithOptions(certificate.DeepCopy(), client.MergeFromWithOptimisticLock{})
	now := metav1.Now()
	certificate.Status.Conditions = append(slices.DeleteFunc(conditions, issuing), certmanagerv1.CertificateCondition{
		Type: certmanagerv1.CertificateConditionIssuing, Status: certmanagermeta.ConditionTrue, LastTransitionTime: &now,
		Reason: "ManuallyTriggered", Message: "The CA was replaced", ObservedGeneration: certificate.Generation,
	})
	err := m.client.Status().Patch(ctx, certificate, patch)
	if apierrors.IsConflict(err) {
		return nil // the next look is soon
	}
	if err != nil {
		return fmt.Errorf("asking for another certificate: %w", err)
	}
	logr.FromContextOrDiscard(ctx).Info("asked cert-manager for another certificate: its CA was replaced")
	return nil
}
