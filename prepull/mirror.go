package prepull

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/kube-prepull/kube-prepull/api/pages"
	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/plan"
	"github.com/kube-prepull/kube-prepull/prepull/warmth"
)

// mirrorPage is how many pods of a mirror are read at a time.
const mirrorPage = 500

// mirrored are the nodes whose mirror is ready, read while a prepull pod waits for one; otherwise none. Nobody watches the pods of
// mirrors: most of the time no prepull pod waits.
func (r *reconciler) mirrored(ctx context.Context, pods []*corev1.Pod) (map[string]bool, error) {
	m := r.options.Mirror
	if !m.Enabled() || !slices.ContainsFunc(pods, plan.WaitsForMirror) {
		return nil, nil
	}
	ready, page := map[string]bool{}, client.ListOptions{Namespace: m.Namespace, LabelSelector: m.Selector(), Limit: mirrorPage}
	for {
		var found corev1.PodList
		if err := pages.List(ctx, r.refusedPods.reader, &found, &page); err != nil {
			return nil, fmt.Errorf("listing the pods of the mirror: %w", err)
		}
		maps.Copy(ready, plan.MirroredNodes(found.Items))
		if page.Continue = found.Continue; page.Continue == "" {
			return ready, nil
		}
	}
}

// ungate lets prepull pods start that have waited for the mirror of their node.
func (w *daemonSetWriter) ungate(ctx context.Context, pods []*corev1.Pod) error {
	var errs []error
	for _, pod := range pods {
		patch, err := json.Marshal(map[string]any{
			"metadata": map[string]any{"uid": pod.UID},
			"spec":     map[string]any{"schedulingGates": []map[string]string{{"$patch": "delete", "name": v1alpha1.SchedulingGateMirror}}},
		})
		if err == nil {
			err = w.client.Patch(ctx, pod.DeepCopy(), client.RawPatch(types.StrategicMergePatchType, patch), reconcilerOwner)
		}
		switch {
		case apierrors.IsNotFound(err) || apierrors.IsConflict(err): // it is gone, or another one of its name
		case err != nil:
			errs = append(errs, fmt.Errorf("letting prepull pod %s start: %w", pod.Name, err))
		default:
			log.FromContext(ctx).V(1).Info("a prepull pod may start", "pod", pod.Name, "node", warmth.NodeOf(pod))
		}
	}
	return errors.Join(errs...)
}
