package audit

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/kube-prepull/kube-prepull/prepull/workload"

	"k8s.io/apimachinery/pkg/util/cache"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Reasons of the Events about pins.
const (
	tagNotPinned     = "TagNotPinned"
	podNotPinned     = "PodNotPinned"
	pinnedDigestGone = "PinnedDigestGone"
)

const (
	// eventLife is how long an API server keeps Events unless it is told otherwise. A problem is told once in that time.
	eventLife = time.Hour

	// maxTold bounds the problems that are remembered.
	maxTold = 10_000
)

// Problem is something about the pin of a container that whoever cares for the workload should know.
type Problem struct {
	workload  corev1.ObjectReference
	reason    string
	container string

	// about tells one problem of a container from the next, such as the digest that is gone.
	about   string
	message string
}

// recorder makes Events of problems, on the workload and one for each problem, also over restarts.
type recorder struct {
	client client.Client
	count  *prometheus.CounterVec

	// recorded are the names of the Events that were made a short time ago.
	recorded *cache.LRUExpireCache
}

func newRecorder(c client.Client, registry prometheus.Registerer) (*recorder, error) {
	t := &recorder{
		client: c,
		count: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kube_prepull_pin_problems_total",
			Help: "Events about pins, by reason: TagNotPinned (a tag could not be resolved), PodNotPinned (a pod of a pinned revision runs the tag) or PinnedDigestGone (the registry does not have the digest any more).",
		}, []string{"reason"}),
		recorded: cache.NewLRUExpireCache(maxTold),
	}
	if err := registry.Register(t.count); err != nil {
		return nil, fmt.Errorf("registering the metric of pin problems: %w", err)
	}
	for _, reason := range []string{tagNotPinned, podNotPinned, pinnedDigestGone} {
		t.count.WithLabelValues(reason)
	}
	return t, nil
}

// record makes the Event of a problem, unless there is one.
func (t *recorder) record(ctx context.Context, p Problem) error {
	event := eventOf(p, metav1.Now())
	if _, told := t.recorded.Get(event.Name); told {
		return nil
	}
	err := t.client.Create(ctx, event)
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("creating an Event: %w", err)
	}
	t.recorded.Add(event.Name, nil, eventLife-time.Nanosecond) // it may be gone when that is over
	if err != nil {
		return nil // told before a restart, or by another replica
	}
	t.count.WithLabelValues(p.reason).Inc()
	return nil
}

// eventOf has the same name for the same problem.
func eventOf(p Problem, now metav1.Time) *corev1.Event {
	return workload.NewEvent(p.workload, corev1.EventTypeWarning, p.reason, p.message, now, string(p.workload.UID), p.reason, p.container, p.about)
}

// InWords is a container or an image volume, as messages name it.
func InWords(name string) string {
	if volume, ok := strings.CutPrefix(name, "volume/"); ok {
		return "volume " + volume
	}
	return "container " + name
}
