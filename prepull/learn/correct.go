package learn

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/pages"
	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// correct takes back what templates predict and pods do not run, once for each revision that pods were seen of.
func (l *Learner) correct(ctx context.Context, seen []observation, namespace map[string]string) error {
	done := map[types.UID]bool{}
	for _, s := range seen {
		if s.owner == nil || done[s.owner.UID] {
			continue
		}
		done[s.owner.UID] = true
		revision, err := l.readRevision(ctx, s.user.Namespace, s.owner)
		if err != nil {
			return err
		}
		if revision == nil {
			continue
		}
		of, pods := workload.TemplateOf(revision, namespace), workload.Correction{}
		for _, other := range seen {
			if other.owner != nil && other.owner.UID == s.owner.UID && of.Has(other.labels) {
				pods = pods.With(of, other.pulls)
			}
		}
		if err := l.replace(ctx, s.user, pods.Replaced()); err != nil {
			return err
		}
	}
	return nil
}

// replace notes of images that pods of a user have others in their places.
func (l *Learner) replace(ctx context.Context, user v1alpha1.User, replaced map[string]string) error {
	for _, image := range slices.Sorted(maps.Keys(replaced)) {
		o, _, err := l.images.find(ctx, image)
		if err != nil {
			return err
		}
		if o == nil {
			continue
		}
		by := replaced[image]
		if _, err := l.images.update(ctx, o, func(have learned) learned { return have.replacedFor(user, by, time.Now()) }); err != nil {
			return err
		}
	}
	return nil
}

// readRevision reads the controller of a pod, nil if it is none with a template, or another one by now.
func (l *Learner) readRevision(ctx context.Context, namespace string, owner *metav1.OwnerReference) (client.Object, error) {
	key := client.ObjectKey{Namespace: namespace, Name: owner.Name}
	var found client.Object
	switch owner.Kind {
	case "ReplicaSet":
		// It is listed by its name: ReplicaSets may be listed for the sake of pins, and not be got.
		var list appsv1.ReplicaSetList
		if err := l.reads.Wait(ctx); err != nil {
			return nil, err
		}
		if err := pages.List(ctx, l.live, &list, &client.ListOptions{Namespace: namespace, FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, owner.Name)}); err != nil {
			return nil, fmt.Errorf("listing the ReplicaSet of a pod: %w", err)
		}
		if len(list.Items) == 0 {
			return nil, nil
		}
		found = &list.Items[0]
	case "StatefulSet", "DaemonSet", "Job":
		found = newWorkload(owner.Kind)
		if err := l.reads.Wait(ctx); err != nil {
			return nil, err
		}
		if err := pages.Get(ctx, l.live, key, found); err != nil {
			if client.IgnoreNotFound(err) == nil {
				return nil, nil
			}
			return nil, fmt.Errorf("getting the controller of a pod: %w", err)
		}
	}
	if found == nil || found.GetUID() != owner.UID {
		return nil, nil
	}
	return found, nil
}
