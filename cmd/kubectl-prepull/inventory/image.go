// Package inventory is what the cluster tells of images, nodes and starts of containers, in plain values. The types with
// JSON keys are what the commands print with -o json: a contract with scripts.
package inventory

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// ImageState is how an image stands in the whole cluster, as the manager says.
type ImageState string

// The states of an image, the worst first.
const (
	ImageFailing ImageState = "Failing" // a registry or a node refuses it
	ImageSkipped ImageState = "Skipped" // it has no place on the nodes
	ImagePulling ImageState = "Pulling" // a node is at it
	ImagePending ImageState = "Pending" // it waits for its turn, or for the manager
	ImageReady   ImageState = "Ready"   // every node that wants it has it
)

// ImageStates are all of them, the worst first.
var ImageStates = []ImageState{ImageFailing, ImageSkipped, ImagePulling, ImagePending, ImageReady}

// Image is one PrepullImage.
type Image struct {
	// Name of the PrepullImage, and Image the string that pods write.
	Name  string `json:"name"`
	Image string `json:"image"`

	// Declared is true if a person made the PrepullImage; else it was learned.
	Declared bool `json:"declared"`

	// State is Failing, Skipped, Pulling, Pending or Ready. Reason is why in a word and Message in full; both are empty of
	// an image that is ready.
	State   ImageState `json:"state"`
	Reason  string     `json:"reason,omitempty"`
	Message string     `json:"message,omitempty"`

	// Nodes that should have the image, have it, and failed to pull it.
	Nodes v1alpha1.NodeCounts `json:"nodes"`

	// SizeBytes is what a node reports; until one does, DownloadBytes is what the registry says of the compressed layers.
	// 0 is not known.
	SizeBytes     int64 `json:"sizeBytes,omitempty"`
	DownloadBytes int64 `json:"downloadBytes,omitempty"`

	// Digest is what the tag pointed to when the registry was asked last, and AlwaysPull whether pods pull it at every start.
	Digest     string `json:"digest,omitempty"`
	AlwaysPull bool   `json:"alwaysPull,omitempty"`

	// UserCount is how many workloads use it; Users are five of them at most.
	UserCount int32           `json:"userCount"`
	Users     []v1alpha1.User `json:"users,omitempty"`

	// LastPullSeconds is what the slowest node took when the image came to the nodes.
	LastPullSeconds int64 `json:"lastPullSeconds,omitempty"`

	// RetryTime is when a failing image is tried next.
	RetryTime *time.Time `json:"retryTime,omitempty"`

	// FirstSeenTime and LastSeenTime are when a stored object was known to use the image.
	FirstSeenTime *time.Time `json:"firstSeenTime,omitempty"`
	LastSeenTime  *time.Time `json:"lastSeenTime,omitempty"`
}

// Bytes is the size of the image as far as it is known.
func (i *Image) Bytes() int64 { return cmp.Or(i.SizeBytes, i.DownloadBytes) }

// ImageOf reads a PrepullImage.
func ImageOf(o *v1alpha1.PrepullImage) Image {
	s := &o.Status
	image := Image{
		Name: o.Name, Image: o.Spec.Image, Declared: o.Labels[v1alpha1.LabelManagedBy] != v1alpha1.Name,
		Nodes: s.Nodes, SizeBytes: s.SizeBytes, DownloadBytes: s.DownloadBytes, Digest: s.Digest, AlwaysPull: s.AlwaysPull,
		UserCount: s.UserCount, Users: s.Users, LastPullSeconds: s.LastPullSeconds,
		FirstSeenTime: timeOf(s.FirstSeenTime), LastSeenTime: timeOf(s.LastSeenTime),
	}
	for i := range s.Retries {
		if next := s.Retries[i].Time.Time; image.RetryTime == nil || next.Before(*image.RetryTime) {
			image.RetryTime = &next
		}
	}
	image.State, image.Reason, image.Message = stateOf(s.Conditions)
	return image
}

// stateOf reads the conditions of a PrepullImage.
func stateOf(conditions []metav1.Condition) (state ImageState, reason, message string) {
	selected := meta.FindStatusCondition(conditions, v1alpha1.ConditionSelected)
	failed := meta.FindStatusCondition(conditions, v1alpha1.ConditionPullFailed)
	ready := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady)
	switch {
	case ready == nil:
		return ImagePending, "NotSeen", "The manager has not come to it yet."
	case selected != nil && selected.Status == metav1.ConditionFalse:
		return ImageSkipped, selected.Reason, selected.Message
	case failed != nil && failed.Status == metav1.ConditionTrue:
		return ImageFailing, failed.Reason, failed.Message
	case ready.Status == metav1.ConditionTrue:
		return ImageReady, "", ""
	case ready.Reason == string(ImagePulling):
		return ImagePulling, ready.Reason, ready.Message
	}
	return ImagePending, ready.Reason, ready.Message
}

func timeOf(t *metav1.Time) *time.Time {
	if t == nil {
		return nil
	}
	return &t.Time
}

// sortImages puts what is wrong first.
func sortImages(images []Image) {
	slices.SortFunc(images, func(a, b Image) int {
		return cmp.Or(
			cmp.Compare(slices.Index(ImageStates, a.State), slices.Index(ImageStates, b.State)),
			strings.Compare(a.Image, b.Image), strings.Compare(a.Name, b.Name),
		)
	})
}
