package prepull

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/kube-prepull/kube-prepull/api/clock"
	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/plan"
)

// statusBatch is how many statuses a pass writes at most, so that a large number does not hold up the DaemonSets.
const statusBatch = 100

// statusWriter writes the statuses of PrepullImages.
type statusWriter struct {
	client           client.Client
	progressInterval time.Duration
	events           *eventWriter
	metrics          *metrics

	// progressed is when the numbers in the status of an object were written last.
	progressed map[string]time.Time
}

func newStatusWriter(c client.Client, clocks clock.Clocks, m *metrics) *statusWriter {
	return &statusWriter{client: c, progressInterval: clocks.ProgressInterval, events: newEventWriter(c, clocks, m), metrics: m, progressed: map[string]time.Time{}}
}

// act writes statuses, all that it can, and returns when to write those that were left for later; zero if none was.
func (w *statusWriter) act(ctx context.Context, p plan.Plan, now time.Time) (time.Time, error) {
	if len(p.Quarantined) > 0 {
		w.metrics.quarantines.Add(float64(len(p.Quarantined)))
		log.FromContext(ctx).Info("images cannot be pulled; PrepullImage status says why", "images", p.Quarantined)
	}
	var again time.Time
	var errs []error
	tried := 0
	for _, c := range p.Statuses {
		due := now
		if c.Progress {
			due = w.progressed[c.Name].Add(w.progressInterval)
		}
		if due.After(now) || tried == statusBatch {
			if again.IsZero() || due.Before(again) {
				again = due
			}
			continue
		}
		tried++
		version, err := w.patch(ctx, c)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		w.progressed[c.Name] = now
		w.events.record(ctx, c, version)
	}
	w.forget(now)
	return again, errors.Join(errs...)
}

// forget drops what has no effect any more.
func (w *statusWriter) forget(now time.Time) {
	for name, t := range w.progressed {
		if now.Sub(t) > w.progressInterval {
			delete(w.progressed, name)
			delete(w.events.recorded, name)
		}
	}
}

// patch leaves the learner's fields as they are, and returns the resource version that it made. An object that is
// gone needs no status.
func (w *statusWriter) patch(ctx context.Context, c plan.StatusChange) (string, error) {
	patch, err := json.Marshal(map[string]plan.Observed{"status": c.Status})
	if err != nil {
		return "", fmt.Errorf("encoding the status of PrepullImage %s: %w", c.Name, err)
	}
	object := &v1alpha1.PrepullImage{ObjectMeta: metav1.ObjectMeta{Name: c.Name}}
	err = w.client.Status().Patch(ctx, object, client.RawPatch(types.MergePatchType, patch), reconcilerOwner)
	if err != nil && !apierrors.IsNotFound(err) {
		return "", fmt.Errorf("writing the status of PrepullImage %s: %w", c.Name, err)
	}
	return object.ResourceVersion, nil
}
