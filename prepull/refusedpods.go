package prepull

import (
	"context"
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/prepull/plan"
)

// refusedPace is how often the events of DaemonSets are read while nodes lack a prepull pod, and the time before the first
// look: pods come a moment after their DaemonSet.
const refusedPace = 10 * time.Second

// refusedPods finds out why prepull pods are not made. Events are not watched for that: most of the time no node lacks one.
type refusedPods struct {
	reader    client.Reader // of the API server: the cache has other events
	namespace string

	// words of the API server, by DaemonSet.
	words map[string]string

	// next is when to look; zero while no node lacks a pod.
	next time.Time
}

// look reads the events when it is time, and returns when that is and whether there are other words than before.
func (r *refusedPods) look(ctx context.Context, lacking bool, pods []*corev1.Pod, now time.Time) (again time.Time, changed bool, err error) {
	switch {
	case !lacking:
		changed = len(r.words) > 0
		r.words, r.next = nil, time.Time{}
		return time.Time{}, changed, nil
	case r.next.IsZero():
		r.next = now.Add(refusedPace)
		return r.next, false, nil
	case now.Before(r.next):
		return r.next, false, nil
	}
	r.next = now.Add(refusedPace)
	var events corev1.EventList
	if err := r.reader.List(ctx, &events, client.InNamespace(r.namespace), client.MatchingFieldsSelector{Selector: plan.RefusedPodEvents}); err != nil {
		return r.next, false, fmt.Errorf("listing the events of DaemonSets: %w", err)
	}
	was := r.words
	r.words = plan.RefusedPods(events.Items, pods)
	return r.next, !maps.Equal(was, r.words), nil
}
