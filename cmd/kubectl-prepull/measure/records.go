package measure

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/cmd/kubectl-prepull/inventory"
	"github.com/kube-prepull/kube-prepull/prepull/pulled"
)

// records are what the API server has on how pods started.
type records struct {
	pods   []corev1.Pod
	events []corev1.Event

	// parents are the controllers of ReplicaSets and Jobs that have one.
	parents map[types.UID]*metav1.OwnerReference
}

// read adds a namespace, or all of them if it is empty.
func (r *records) read(ctx context.Context, c client.Reader, namespace string) error {
	within := client.InNamespace(namespace)
	err := inventory.Pages(ctx, c, func() *corev1.PodList { return &corev1.PodList{} }, func(l *corev1.PodList) { r.pods = append(r.pods, l.Items...) }, within)
	if err != nil {
		return fmt.Errorf("listing pods: %w", err)
	}
	err = inventory.Pages(ctx, c, func() *corev1.EventList { return &corev1.EventList{} }, func(l *corev1.EventList) { r.events = append(r.events, l.Items...) },
		within, client.MatchingFieldsSelector{Selector: pulled.Selector})
	if err != nil {
		return fmt.Errorf("listing events: %w", err)
	}
	for _, kind := range []schema.GroupVersionKind{
		{Group: "apps", Version: "v1", Kind: "ReplicaSetList"}, {Group: "batch", Version: "v1", Kind: "JobList"},
	} {
		empty := func() *metav1.PartialObjectMetadataList {
			l := &metav1.PartialObjectMetadataList{}
			l.SetGroupVersionKind(kind)
			return l
		}
		if err := inventory.Pages(ctx, c, empty, r.adopt, within); err != nil {
			return fmt.Errorf("listing the owners of pods: %w", err)
		}
	}
	return nil
}

func (r *records) adopt(owners *metav1.PartialObjectMetadataList) {
	for i := range owners.Items {
		if parent := metav1.GetControllerOf(&owners.Items[i]); parent != nil {
			r.parents[owners.Items[i].UID] = parent
		}
	}
}
