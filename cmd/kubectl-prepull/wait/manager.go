package wait

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// pulls is an error where nobody would pull what is waited for, and statuses are of another time: there are to be no managers.
// Who may not look for them waits all the same.
func pulls(ctx context.Context, c client.Reader, home string) error {
	var managers appsv1.Deployment
	err := c.Get(ctx, client.ObjectKey{Namespace: home, Name: v1alpha1.Name}, &managers)
	switch {
	case apierrors.IsForbidden(err):
		return nil
	case apierrors.IsNotFound(err):
		return fmt.Errorf("there is no manager in namespace %s, so nothing is pulled: install kube-prepull, or say where it is with --install-namespace", home)
	case err != nil:
		return fmt.Errorf("looking for the managers: %w", err)
	case managers.Spec.Replicas != nil && *managers.Spec.Replicas == 0:
		return fmt.Errorf("there is no manager, so nothing is pulled: Deployment %s/%s has 0 replicas", home, v1alpha1.Name)
	}
	return nil
}
