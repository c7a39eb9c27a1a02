package main

import (
	"context"
	"errors"
	"fmt"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/certs"
	"github.com/kube-prepull/kube-prepull/prepull"
)

// cleanup deletes what a manager that no longer runs has left: first of all the webhook configuration, so that nothing
// calls what is not there, then the lease and what certificates come from, then what package prepull made. With marks it
// also takes back what was written on nodes.
func cleanup(ctx context.Context, namespace string, marks prepull.NodeMarks) error {
	setLogger("info")
	kube, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("finding the cluster: %w", err)
	}
	scheme, err := newScheme()
	if err != nil {
		return err
	}
	c, err := client.New(kube, client.Options{Scheme: scheme})
	if err != nil {
		return fmt.Errorf("creating the client: %w", err)
	}
	objects := []client.Object{
		&admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: certs.WebhookConfigurationName}},
		&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: v1alpha1.Name}},
	}
	var errs []error
	for _, object := range append(objects, certs.Objects(namespace)...) {
		// The API of cert-manager may be gone, or never have been there.
		if err := c.Delete(ctx, object); err != nil && !apierrors.IsNotFound(err) && !meta.IsNoMatchError(err) {
			errs = append(errs, fmt.Errorf("deleting %T %s: %w", object, object.GetName(), err))
		}
	}
	// A node that is held is untainted whatever else goes wrong.
	errs = append(errs, prepull.CleanupNodes(ctx, c, marks), prepull.Cleanup(ctx, c, namespace))
	return errors.Join(errs...)
}
