package uninstall

import (
	"context"
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// deleteAll deletes things, all that it can.
func (r remover) deleteAll(ctx context.Context, things []thing) error {
	var errs []error
	for _, t := range things {
		if t.selector != nil {
			errs = append(errs, r.deleteSelected(ctx, t))
		} else {
			errs = append(errs, r.delete(ctx, t))
		}
	}
	return errors.Join(errs...)
}

// delete deletes the one object of a thing. What is not there is no error, and neither is an API that is not.
func (r remover) delete(ctx context.Context, t thing) error {
	err := r.client.Delete(ctx, t.object(r.options.Namespace), client.PropagationPolicy(metav1.DeletePropagationBackground))
	switch {
	case absent(err):
		return nil
	case err != nil:
		return fmt.Errorf("deleting %s: %w", t.called(t.name), err)
	}
	r.options.Tell(t.called(t.name) + " deleted")
	return nil
}

// deleteSelected deletes all objects of a thing. Before it reads the names of those that are there, to tell.
func (r remover) deleteSelected(ctx context.Context, t thing) error {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(t.kind.GroupVersion().WithKind(t.kind.Kind + "List"))
	of := t.object(r.options.Namespace)
	selected := client.ListOptions{Namespace: of.GetNamespace(), LabelSelector: t.selector}
	err := r.client.List(ctx, list, &selected)
	switch {
	case absent(err):
		return nil
	case err != nil:
		return fmt.Errorf("listing kind %s: %w", t.kind.Kind, err)
	}
	err = r.client.DeleteAllOf(ctx, of, &client.DeleteAllOfOptions{ListOptions: selected}, client.PropagationPolicy(metav1.DeletePropagationBackground))
	if err != nil && !absent(err) {
		return fmt.Errorf("deleting all of kind %s: %w", t.kind.Kind, err)
	}
	for _, o := range list.Items {
		r.options.Tell(t.called(o.Name) + " deleted")
	}
	return nil
}

// called is how people call an object of a thing: daemonset/prepull-1.
func (t thing) called(name string) string { return strings.ToLower(t.kind.Kind) + "/" + name }

// absent says that there is no such object, or no API for it: those of cert-manager and of Prometheus may not be installed,
// and ours may be gone.
func absent(err error) bool { return apierrors.IsNotFound(err) || meta.IsNoMatchError(err) }
