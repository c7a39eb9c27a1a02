package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// maxNotice is the length of an Event's message at most, in bytes. Source: NoteLengthLimit in
// k8s.io/kubernetes/pkg/apis/core/validation/events.go.
const maxNotice = 1024

// Reasons of the Events that the reconciler makes: about a PrepullImage, and about the workloads that use one.
const (
	NoticeFailed    = "PullFailed"
	NoticeRecovered = "PullRecovered"
	NoticeOver      = "OverBudget"
	NoticeWithin    = "WithinBudget"
	noticeCold      = "ImageNotPrepulled"
)

// Notice is an Event that a change of a status is worth. The stored conditions remember what was told.
type Notice struct {
	About   corev1.ObjectReference
	kind    string // corev1.EventTypeNormal or EventTypeWarning
	Reason  string
	message string
	At      time.Time
}

// noticesOf are the Events that the change of an object's status is worth. The workloads learn in a word that their image
// cannot be pulled; more is at the object, since the registry's words may be about other users' credentials.
func noticesOf(o *v1alpha1.PrepullImage, old, next Observed, now time.Time) []Notice {
	object := corev1.ObjectReference{APIVersion: v1alpha1.GroupVersion.String(), Kind: "PrepullImage", Name: o.Name, UID: o.UID}
	selected := meta.FindStatusCondition(next.Conditions, v1alpha1.ConditionSelected)
	failed := meta.FindStatusCondition(next.Conditions, v1alpha1.ConditionPullFailed)
	var notices []Notice
	add := func(about corev1.ObjectReference, kind, reason, message string) {
		notices = append(notices, Notice{about, kind, reason, message, now})
	}
	switch wasOver := overBudget(old.Conditions); {
	case !wasOver && overBudget(next.Conditions):
		add(object, corev1.EventTypeWarning, NoticeOver, selected.Message)
	case wasOver && selected.Status == metav1.ConditionTrue:
		add(object, corev1.EventTypeNormal, NoticeWithin, selected.Message)
	}
	switch had := meta.IsStatusConditionTrue(old.Conditions, v1alpha1.ConditionPullFailed); {
	case !had && failed.Status == metav1.ConditionTrue:
		add(object, corev1.EventTypeWarning, NoticeFailed, failed.Message)
		why := strings.TrimPrefix(next.State, StateFailed+": ")
		for _, u := range o.Status.Users {
			add(userReference(u), corev1.EventTypeWarning, noticeCold,
				fmt.Sprintf("%s cannot be pulled before pods need it: %s. It is tried again later; see PrepullImage %s.", o.Spec.Image, why, o.Name))
		}
	case had && failed.Status == metav1.ConditionFalse && selected.Status == metav1.ConditionTrue:
		add(object, corev1.EventTypeNormal, NoticeRecovered, failed.Message)
	}
	return notices
}

func overBudget(conditions []metav1.Condition) bool {
	c := meta.FindStatusCondition(conditions, v1alpha1.ConditionSelected)
	return c != nil && c.Status == metav1.ConditionFalse && c.Reason == skippedOverBudget
}

// userReference is what an Event about a user refers to.
func userReference(u v1alpha1.User) corev1.ObjectReference {
	version := "apps/v1"
	switch u.Kind {
	case "Pod":
		version = "v1"
	case "Job", "CronJob":
		version = "batch/v1"
	}
	return corev1.ObjectReference{APIVersion: version, Kind: u.Kind, Namespace: u.Namespace, Name: u.Name, UID: u.UID}
}

// Event is the same for the same notice. Events about what is in no namespace are in the default one.
func (n Notice) Event() *corev1.Event {
	about, namespace := n.About, n.About.Namespace
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %s %s %d", about.UID, n.Reason, n.message, n.At.Unix()))
	at := metav1.NewTime(n.At)
	return &corev1.Event{
		// A part of a name may end in what no part of a name may end in.
		ObjectMeta:          metav1.ObjectMeta{Namespace: namespace, Name: strings.TrimRight(about.Name[:min(len(about.Name), 200)], "-.") + "." + hex.EncodeToString(sum[:8])},
		InvolvedObject:      about,
		Type:                n.kind,
		Reason:              n.Reason,
		Message:             strings.ToValidUTF8(n.message[:min(len(n.message), maxNotice)], ""),
		Source:              corev1.EventSource{Component: v1alpha1.Name},
		ReportingController: v1alpha1.Name,
		FirstTimestamp:      at,
		LastTimestamp:       at,
		Count:               1,
	}
}
