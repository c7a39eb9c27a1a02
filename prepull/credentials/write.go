package credentials

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// write stores the copies as they should be. One that is not needed goes once no DaemonSet names it and none can name it any
// more: the last plan was made with all that is known, and that does not tell of the copy.
func (c *Keeper) write(ctx context.Context, p copyPlan, n need) error {
	var errs []error
	for _, next := range p.create {
		secret := next.secret(c.namespace)
		if err := c.client.Create(ctx, secret, fieldOwner); err != nil {
			c.stale = c.stale || apierrors.IsAlreadyExists(err)
			errs = append(errs, fmt.Errorf("creating the copy %s of a pull secret: %w", next.name, err))
			continue
		}
		c.stored(ctx, next, secret)
	}
	for _, next := range p.update {
		if err := c.update(ctx, next); err != nil {
			errs = append(errs, err)
		}
	}
	published := slices.Collect(maps.Values(c.pulls.Copies))
	for _, name := range p.unneeded {
		if n.named[name] || !n.current || slices.Contains(published, name) {
			continue
		}
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: name}}
		version := c.copies[name].version
		err := c.client.Delete(ctx, secret, client.Preconditions{ResourceVersion: &version})
		switch {
		case apierrors.IsConflict(err):
			c.stale = true
		case client.IgnoreNotFound(err) != nil:
			errs = append(errs, fmt.Errorf("deleting the copy %s of a pull secret: %w", name, err))
		default:
			delete(c.copies, name)
			log.FromContext(ctx).Info("deleted the copy of a pull secret", "secret", name)
		}
	}
	return errors.Join(errs...)
}

// update changes a stored copy. What somebody else has changed or deleted meanwhile is looked at again.
func (c *Keeper) update(ctx context.Context, next pullCopy) error {
	was := c.copies[next.name]
	patch, err := json.Marshal(next.patch(was))
	if err != nil {
		return fmt.Errorf("encoding the copy %s of a pull secret: %w", next.name, err)
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: next.name}}
	err = c.client.Patch(ctx, secret, client.RawPatch(types.MergePatchType, patch), fieldOwner)
	switch {
	case apierrors.IsNotFound(err):
		delete(c.copies, next.name)
		c.stale = true
	case apierrors.IsConflict(err):
		c.stale = true
	case err != nil:
		return fmt.Errorf("updating the copy %s of a pull secret: %w", next.name, err)
	default:
		c.stored(ctx, next, secret)
	}
	return nil
}

func (c *Keeper) stored(ctx context.Context, next pullCopy, secret *corev1.Secret) {
	next.version = secret.ResourceVersion
	c.copies[next.name] = next
	log.FromContext(ctx).Info("copied a pull secret", "secret", next.name, "source", next.Source.String())
}

// sweep deletes the copies that were made before pull secrets were switched off.
func (c *Keeper) sweep(ctx context.Context, named map[string]bool) error {
	if c.swept || len(named) > 0 {
		return nil
	}
	if err := deleteCopies(ctx, c.client, c.namespace); err != nil {
		return err
	}
	c.swept = true
	return nil
}

// deleteCopies deletes all copies of pull secrets in a namespace.
func deleteCopies(ctx context.Context, c client.Client, namespace string) error {
	err := c.DeleteAllOf(ctx, &corev1.Secret{}, client.InNamespace(namespace), client.MatchingLabels(v1alpha1.PrepullLabels()))
	if err != nil {
		return fmt.Errorf("deleting the copies of pull secrets: %w", err)
	}
	return nil
}

// namedCopies are the copies that the template of a DaemonSet names.
func namedCopies(daemonSets []*appsv1.DaemonSet) map[string]bool {
	named := map[string]bool{}
	for _, ds := range daemonSets {
		for _, secret := range ds.Spec.Template.Spec.ImagePullSecrets {
			if strings.HasPrefix(secret.Name, v1alpha1.CopyPrefix) {
				named[secret.Name] = true
			}
		}
	}
	return named
}
