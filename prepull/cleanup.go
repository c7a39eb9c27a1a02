package prepull

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// Cleanup deletes what the reconciler and the learner made: the prepull DaemonSets and the copies of pull secrets in a
// namespace, and the learned PrepullImages. Declared ones stay: they belong to whoever wrote them. Call it when no manager runs any more.
func Cleanup(ctx context.Context, c client.Client, namespace string) error {
	err := c.DeleteAllOf(ctx, &appsv1.DaemonSet{}, client.InNamespace(namespace), client.MatchingLabels(prepullLabels()),
		client.PropagationPolicy(metav1.DeletePropagationBackground))
	if err != nil {
		return fmt.Errorf("deleting the prepull DaemonSets: %w", err)
	}
	if err := deleteCopies(ctx, c, namespace); err != nil {
		return err
	}
	err = c.DeleteAllOf(ctx, &v1alpha1.PrepullImage{}, client.MatchingLabels{v1alpha1.LabelManagedBy: v1alpha1.Name})
	if err != nil && !meta.IsNoMatchError(err) && client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("deleting the learned PrepullImages: %w", err)
	}
	return nil
}
