package plan

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/kube-prepull/kube-prepull/prepull/workload"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

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
	return c != nil && c.Status == metav1.ConditionFalse && c.Reason == SkippedOverBudget
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

// Event of a notice; the same notice has the same one.
func (n Notice) Event() *corev1.Event {
	at := metav1.NewTime(n.At)
	return workload.NewEvent(n.About, n.kind, n.Reason, n.message, at, string(n.About.UID), n.Reason, n.message, strconv.FormatInt(n.At.Unix(), 10))
}
