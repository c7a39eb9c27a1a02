package pulled

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"
)

// Start is a container that is about to start, its image being there.
type Start struct {
	Image

	// Namespace of the pod.
	Namespace string

	// Node that the pod is on.
	Node string

	// Time of it, in whole seconds of the node's clock.
	Time time.Time

	// Version is the event's resource version.
	Version string
}

// StartOf reads what happened last of what an event stands for: kubelets count what they say again, such as that the image
// of a container that restarts is there. It returns false if the event is not about an image that is there.
func StartOf(e *corev1.Event) (Start, bool) {
	image, ok := Parse(e)
	if !ok || e.Source.Host == "" || len(e.Source.Host) > maxMessage {
		return Start{}, false
	}
	return Start{
		Image: image, Namespace: e.InvolvedObject.Namespace, Node: e.Source.Host,
		Time: e.LastTimestamp.Time, Version: e.ResourceVersion,
	}, true
}

// Sort puts starts in the order in which they happened. Within a second it is that in which the API server was told.
func Sort(starts []Start) {
	slices.SortStableFunc(starts, func(a, b Start) int { return cmp.Or(a.Time.Compare(b.Time), compareVersions(a, b)) })
}

// After tells whether the API server was told of it after it had a resource version.
func (s Start) After(version string) bool {
	return compareVersions(s, Start{Version: version}) > 0
}

// compareVersions takes what is no version as equal.
func compareVersions(a, b Start) int {
	order, err := resourceversion.CompareResourceVersion(a.Version, b.Version)
	if err != nil {
		return 0
	}
	return order
}
