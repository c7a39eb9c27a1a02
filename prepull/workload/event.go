package workload

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// maxEventMessage is how long the message of an Event may be, in bytes. Source: NoteLengthLimit in
// k8s.io/kubernetes/pkg/apis/core/validation/events.go.
const maxEventMessage = 1024

// NewEvent is an Event of kube-prepull about an object. kind is corev1.EventTypeNormal or EventTypeWarning. Its name follows
// from its identity, so that the same Event is made once. Events about what is in no namespace are in the default one.
func NewEvent(about corev1.ObjectReference, kind, reason, message string, at metav1.Time, identity ...string) *corev1.Event {
	h := sha256.New()
	for _, part := range identity {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	// A name that is cut may end in a character that no part of a name may end in.
	prefix := strings.TrimRight(about.Name[:min(len(about.Name), 200)], "-.")
	return &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: cmp.Or(about.Namespace, metav1.NamespaceDefault), Name: prefix + "." + hex.EncodeToString(h.Sum(nil)[:8]),
		},
		InvolvedObject:      about,
		Type:                kind,
		Reason:              reason,
		Message:             Shortened(message, maxEventMessage),
		Source:              corev1.EventSource{Component: v1alpha1.Name},
		ReportingController: v1alpha1.Name,
		FirstTimestamp:      at,
		LastTimestamp:       at,
		Count:               1,
	}
}

// Shortened is text of so many bytes at most, and whole characters.
func Shortened(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "")
}
