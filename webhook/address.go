package webhook

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"strings"

	"github.com/go-logr/logr"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// rewriteWebhooks is in the names of the webhooks that pin images.
const rewriteWebhooks = ".rewrite."

// address is where the API server sends the reviews of namespaces whose images are pinned: RewritePath and a secret, in
// the webhook configuration alone. API servers do not say who they are, but few others may read that; so what a pod of
// the cluster makes up uses no pull secret and calls no registry. Installers leave the path out, and the leader sets it.
type address struct {
	client client.Client // cached
	name   string
}

// known is true if the path of a request is the one that the API server was told.
func (a address) known(ctx context.Context, path string) bool {
	var config admissionregistrationv1.MutatingWebhookConfiguration
	if err := a.client.Get(ctx, client.ObjectKey{Name: a.name}, &config); err != nil {
		return false
	}
	for i := range config.Webhooks {
		if told := pathOf(&config.Webhooks[i]); secret(told) && subtle.ConstantTimeCompare([]byte(told), []byte(path)) == 1 {
			return true
		}
	}
	return false
}

// secret is true for a path that nobody guesses.
func secret(path string) bool {
	return strings.HasPrefix(path, RewritePath+"/") && len(path) >= len(RewritePath)+1+len(rand.Text())
}

// pathOf a webhook that pins images; empty if it has none, or is none.
func pathOf(w *admissionregistrationv1.MutatingWebhook) string {
	if !strings.Contains(w.Name, rewriteWebhooks) || w.ClientConfig.Service == nil || w.ClientConfig.Service.Path == nil {
		return ""
	}
	return *w.ClientConfig.Service.Path
}

// setup makes the leader keep the paths in the configuration.
func (a address) setup(mgr ctrl.Manager) error {
	err := ctrl.NewControllerManagedBy(mgr).
		Named("address").
		For(&admissionregistrationv1.MutatingWebhookConfiguration{}).
		Complete(reconcile.Func(a.reconcile))
	if err != nil {
		return fmt.Errorf("setting up the address controller: %w", err)
	}
	return nil
}

func (a address) reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	var config admissionregistrationv1.MutatingWebhookConfiguration
	if err := a.client.Get(ctx, client.ObjectKey{Name: a.name}, &config); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	// Bound to what was read: nobody else's change is lost.
	patch := client.StrategicMergeFrom(config.DeepCopy(), client.MergeFromWithOptimisticLock{})
	if !setPath(&config, newPath()) {
		return reconcile.Result{}, nil
	}
	err := a.client.Patch(ctx, &config, patch, client.FieldOwner(v1alpha1.Name))
	switch {
	case apierrors.IsNotFound(err), apierrors.IsConflict(err):
		return reconcile.Result{}, nil // somebody else changed it, which comes back as an event
	case err != nil:
		return reconcile.Result{}, fmt.Errorf("telling the API server where the webhook is: %w", err)
	}
	logr.FromContextOrDiscard(ctx).Info("told the API server where the webhook is")
	return reconcile.Result{}, nil
}

// newPath is one that nobody guesses. Its last part has to be in lower case.
// Source: ValidateWebhookService in k8s.io/apiserver/pkg/util/webhook/validation.go.
func newPath() string { return RewritePath + "/" + strings.ToLower(rand.Text()) }

// setPath gives the webhooks that pin images a path, those that have none which is secret, and says whether that changed
// anything.
func setPath(config *admissionregistrationv1.MutatingWebhookConfiguration, path string) bool {
	changed := false
	for i := range config.Webhooks {
		w := &config.Webhooks[i]
		if strings.Contains(w.Name, rewriteWebhooks) && w.ClientConfig.Service != nil && !secret(pathOf(w)) {
			w.ClientConfig.Service.Path, changed = &path, true
		}
	}
	return changed
}
