package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/webhook/pins"
)

// revisions reads the earlier revisions of workloads.
type revisions struct{ live client.Reader }

// have tells whether the template of a workload is that of a stored revision of it, as after kubectl rollout undo: its
// controller then goes back to that revision, and another pin would make a new one.
func (r revisions) have(ctx context.Context, kind, namespace string, w *pins.Object) (bool, error) {
	if kind != "Deployment" && kind != "StatefulSet" && kind != "DaemonSet" {
		return false, nil
	}
	var wanted corev1.PodTemplateSpec
	if err := json.Unmarshal(w.Template.Raw, &wanted); err != nil {
		return false, fmt.Errorf("reading the template: %w", err)
	}
	selector, err := metav1.LabelSelectorAsSelector(w.Selector)
	if err != nil {
		return false, fmt.Errorf("reading the selector: %w", err)
	}
	options := []client.ListOption{
		client.InNamespace(namespace), client.MatchingLabelsSelector{Selector: selector},
		// What the API server has in memory is new enough: these revisions were made by an earlier rollout.
		&client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: "0"}},
	}
	if kind == "Deployment" {
		return r.replicaSet(ctx, w, &wanted, options)
	}
	return r.controllerRevision(ctx, w, &wanted, options)
}

func (r revisions) replicaSet(ctx context.Context, w *pins.Object, wanted *corev1.PodTemplateSpec, options []client.ListOption) (bool, error) {
	var list appsv1.ReplicaSetList
	if err := r.live.List(ctx, &list, options...); err != nil {
		return false, fmt.Errorf("listing ReplicaSets: %w", err)
	}
	return slices.ContainsFunc(list.Items, func(set appsv1.ReplicaSet) bool {
		// As in EqualIgnoreHash of k8s.io/kubernetes/pkg/controller/deployment/util/deployment_util.go.
		delete(set.Spec.Template.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
		return w.Controls(&set) && equality.Semantic.DeepEqual(&set.Spec.Template, wanted)
	}), nil
}

func (r revisions) controllerRevision(ctx context.Context, w *pins.Object, wanted *corev1.PodTemplateSpec, options []client.ListOption) (bool, error) {
	var list appsv1.ControllerRevisionList
	if err := r.live.List(ctx, &list, options...); err != nil {
		return false, fmt.Errorf("listing ControllerRevisions: %w", err)
	}
	return slices.ContainsFunc(list.Items, func(revision appsv1.ControllerRevision) bool {
		var stored struct {
			Spec struct {
				Template corev1.PodTemplateSpec `json:"template"`
			} `json:"spec"`
		}
		err := json.Unmarshal(revision.Data.Raw, &stored)
		return err == nil && w.Controls(&revision) && equality.Semantic.DeepEqual(&stored.Spec.Template, wanted)
	}), nil
}
