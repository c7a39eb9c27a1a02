package prepull

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

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
const mirrorPage = 200

// mirrors are the nodes whose mirror is ready. Nobody watches their pods: most of the time no prepull pod waits for one.
type mirrors struct {
	reader client.Reader // of the API server
	plan.Mirror

	ready map[string]bool
	read  time.Time
}

// look reads them again if a prepull pod waits and it is time. If that fails, what was read last counts.
func (m *mirrors) look(ctx context.Context, pods []*corev1.Pod, now time.Time) (map[string]bool, error) {
	if !m.Enabled() || !slices.ContainsFunc(pods, plan.WaitsForMirror) || now.Sub(m.read) < plan.MirrorPace {
		return m.ready, nil
	}
	ready, page := map[string]bool{}, client.ListOptions{Namespace: m.Namespace, LabelSelector: m.Selector(), Limit: mirrorPage}
	m.read = now
	for {
		var found corev1.PodList
		if err := pages.List(ctx, m.reader, &found, &page); err != nil {
			return m.ready, fmt.Errorf("listing the pods of the mirror: %w", err)
		}
		maps.Copy(ready, plan.MirroredNodes(found.Items))
		if page.Continue = found.Continue; page.Continue == "" {
			m.ready = ready
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
