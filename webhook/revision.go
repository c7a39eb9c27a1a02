package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/pages"
	"github.com/kube-prepull/kube-prepull/webhook/pins"
)

// maxValues are read of a template in a review, and of all ControllerRevisions of a workload. A template has some hundred.
const maxValues = 20_000

// revisions reads the earlier revisions of workloads.
type revisions struct{ live client.Reader }

// earlier are the templates of a workload's stored revisions.
type earlier []corev1.PodTemplateSpec

// of a workload. Only some kinds have any.
func (r revisions) of(ctx context.Context, kind, namespace string, w *pins.Object) (earlier, error) {
	if kind != "Deployment" && kind != "StatefulSet" && kind != "DaemonSet" {
		return nil, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(w.Selector)
	if err != nil {
		return nil, fmt.Errorf("reading the selector: %w", err)
	}
	options := &client.ListOptions{
		Namespace: namespace, LabelSelector: selector,
		// What the API server has in memory is new enough: these revisions were made by an earlier rollout.
		Raw: &metav1.ListOptions{ResourceVersion: "0"},
	}
	if kind == "Deployment" {
		return r.replicaSets(ctx, w, options)
	}
	return r.controllerRevisions(ctx, w, options)
}

func (r revisions) replicaSets(ctx context.Context, w *pins.Object, options *client.ListOptions) (earlier, error) {
	var list appsv1.ReplicaSetList
	if err := pages.List(pages.Awaited(ctx), r.live, &list, options); err != nil {
		return nil, fmt.Errorf("listing ReplicaSets: %w", err)
	}
	var found earlier
	for i := range list.Items {
		if set := &list.Items[i]; w.Controls(set) {
			// As in EqualIgnoreHash of k8s.io/kubernetes/pkg/controller/deployment/util/deployment_util.go.
			delete(set.Spec.Template.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
			found = append(found, set.Spec.Template)
		}
	}
	return found, nil
}

func (r revisions) controllerRevisions(ctx context.Context, w *pins.Object, options *client.ListOptions) (earlier, error) {
	var list appsv1.ControllerRevisionList
	if err := pages.List(pages.Awaited(ctx), r.live, &list, options); err != nil {
		return nil, fmt.Errorf("listing ControllerRevisions: %w", err)
	}
	var found earlier
	room := maxValues
	for i := range list.Items {
		revision := &list.Items[i]
		if room -= values(revision.Data.Raw); room < 0 {
			return nil, errors.New("the ControllerRevisions are too large")
		}
		if t, ok := templateIn(revision.Data.Raw); ok && w.Controls(revision) {
			found = append(found, t)
		}
	}
	return found, nil
}

// values is at least how many values there are in JSON, each of which may become a container of half a kilobyte: an element of a list
// grows it, whatever it is.
func values(raw []byte) int {
	return 1 + bytes.Count(raw, []byte(",")) + bytes.Count(raw, []byte("[")) + bytes.Count(raw, []byte("{"))
}

// templateIn is the template in the data of a ControllerRevision, false if there is none. The API server takes any JSON as such.
func templateIn(raw []byte) (corev1.PodTemplateSpec, bool) {
	var stored struct {
		Spec struct {
			Template corev1.PodTemplateSpec `json:"template"`
		} `json:"spec"`
	}
	err := json.Unmarshal(raw, &stored)
	return stored.Spec.Template, err == nil
}

// have tells whether a template is that of one of the revisions, as after kubectl rollout undo: the workload's controller then
// goes back to that revision, and another pin would make a new one.
func (e earlier) have(t *pins.Template) (bool, error) {
	if values(t.Raw) > maxValues {
		return false, errors.New("the template is too large to be compared") // the API server checks it only later
	}
	var wanted corev1.PodTemplateSpec
	if err := json.Unmarshal(t.Raw, &wanted); err != nil {
		return false, fmt.Errorf("reading the template: %w", err)
	}
	return slices.ContainsFunc(e, func(one corev1.PodTemplateSpec) bool { return equality.Semantic.DeepEqual(&one, &wanted) }), nil
}

// pinned tells whether one of the revisions has a pin.
func (e earlier) pinned(key, pin string) bool {
	return slices.ContainsFunc(e, func(one corev1.PodTemplateSpec) bool { return one.Annotations[key] == pin })
}
