package uninstall

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

const (
	// stopTime is how long managers may take to go: the kubelet kills them after 30 seconds. Who is there after it is on a node
	// that does not answer, and writes nothing either.
	stopTime = 40 * time.Second

	// stopPace is how often is looked whether they are gone.
	stopPace = 500 * time.Millisecond
)

// stop deletes the managers and waits until they are gone.
func (r remover) stop(ctx context.Context) error {
	err := r.client.Delete(ctx, managers.object(r.options.Namespace), client.PropagationPolicy(metav1.DeletePropagationForeground))
	if err != nil && !absent(err) {
		return fmt.Errorf("deleting %s: %w", managers.called(managers.name), err)
	}
	deleted := err == nil
	if !r.options.DryRun {
		if err := r.waitGone(ctx); err != nil {
			return err
		}
	}
	if deleted {
		r.options.Tell(managers.called(managers.name) + " deleted")
	}
	return nil
}

// waitGone waits until the managers are gone, or are on nodes that do not answer.
func (r remover) waitGone(ctx context.Context) error {
	for deadline := time.Now().Add(stopTime); ; {
		left, err := r.running(ctx)
		if left == "" || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			r.options.Tell(left + " is still there")
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s to go: %w", left, ctx.Err())
		case <-time.After(stopPace):
		}
	}
}

// running is a manager that is not gone yet, empty if all are. One that was never started does nothing: it may be deleted while
// its image waits for other pulls of its node, perhaps for one of ours, and is only gone when those are over.
func (r remover) running(ctx context.Context) (string, error) {
	var pods corev1.PodList
	selector := client.MatchingLabels{v1alpha1.LabelName: v1alpha1.Name, v1alpha1.LabelComponent: v1alpha1.ComponentWebhook}
	if err := r.client.List(ctx, &pods, client.InNamespace(r.options.Namespace), selector); err != nil {
		return "", fmt.Errorf("listing managers: %w", err)
	}
	for i := range pods.Items {
		if pod := &pods.Items[i]; pod.Status.Phase != corev1.PodPending || pod.DeletionTimestamp == nil {
			return "pod/" + pod.Name, nil
		}
	}
	return "", nil
}
