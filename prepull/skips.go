package prepull

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/plan"
	"github.com/kube-prepull/kube-prepull/prepull/warmth"
)

// skip lets prepull pods go on without images that they could not pull.
func (w *daemonSetWriter) skip(ctx context.Context, skips []plan.Skip, now time.Time) error {
	var errs []error
	for _, s := range skips {
		patch, err := skipPatch(s, w.noopImage, now)
		if err == nil {
			err = w.client.Patch(ctx, s.Pod.DeepCopy(), client.RawPatch(types.StrategicMergePatchType, patch), reconcilerOwner)
		}
		switch {
		case apierrors.IsNotFound(err) || apierrors.IsConflict(err): // it is gone, or another one of its name
		case err != nil:
			errs = append(errs, fmt.Errorf("letting prepull pod %s go on without an image: %w", s.Pod.Name, err))
		default:
			log.FromContext(ctx).Info("a node goes on without an image", "node", s.Pod.Spec.NodeName, "prepullImage", s.Container, "reason", s.Failure.Reason)
		}
	}
	return errors.Join(errs...)
}

// skipPatch has an init container run the noop image, and says why.
func skipPatch(s plan.Skip, noopImage string, now time.Time) ([]byte, error) {
	return json.Marshal(map[string]any{
		"metadata": map[string]any{
			"uid":         s.Pod.UID,
			"annotations": map[string]string{v1alpha1.AnnotationSkipped + s.Container: warmth.SkippedWords(s.Failure, now)},
		},
		"spec": map[string]any{"initContainers": []map[string]string{{"name": s.Container, "image": noopImage}}},
	})
}
