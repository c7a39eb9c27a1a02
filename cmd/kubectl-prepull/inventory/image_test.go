package inventory

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

func TestTheStateOfAnImage(t *testing.T) {
	t.Parallel()
	condition := func(kind string, is bool, reason, message string) metav1.Condition {
		status := metav1.ConditionFalse
		if is {
			status = metav1.ConditionTrue
		}
		return metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message}
	}
	selected := condition("Selected", true, "WithinBudget", "")
	fine := condition("PullFailed", false, "NoFailure", "")
	tests := map[string]struct {
		conditions      []metav1.Condition
		want            ImageState
		reason, message string
	}{
		"nobody has looked": {nil, ImagePending, "NotSeen", "The manager has not come to it yet."},
		"ready":             {[]metav1.Condition{selected, fine, condition("Ready", true, "OnEveryNode", "all")}, ImageReady, "", ""},
		"pulling":           {[]metav1.Condition{selected, fine, condition("Ready", false, "Pulling", "at it")}, ImagePulling, "Pulling", "at it"},
		"refused":           {[]metav1.Condition{selected, fine, condition("Ready", false, "DaemonSetRefused", "no")}, ImagePending, "DaemonSetRefused", "no"},
		"fails":             {[]metav1.Condition{selected, condition("PullFailed", true, "NotFound", "gone"), condition("Ready", false, "PullFailed", "")}, ImageFailing, "NotFound", "gone"},
		"has no place": {[]metav1.Condition{
			condition("Selected", false, "OverBudget", "too much"), condition("PullFailed", true, "NotFound", "gone"), condition("Ready", false, "Skipped", ""),
		}, ImageSkipped, "OverBudget", "too much"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			state, reason, message := stateOf(test.conditions)
			if state != test.want || reason != test.reason || message != test.message {
				t.Errorf("got %q %q %q, want %q %q %q", state, reason, message, test.want, test.reason, test.message)
			}
		})
	}
}

func TestTheWorstImagesAreFirst(t *testing.T) {
	t.Parallel()
	soon, later := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), time.Date(2026, 1, 2, 4, 0, 0, 0, time.UTC)
	object := func(image string, ready bool, retries ...v1alpha1.Retry) v1alpha1.PrepullImage {
		status, reason := metav1.ConditionFalse, "Pulling"
		if ready {
			status, reason = metav1.ConditionTrue, "OnEveryNode"
		}
		o := v1alpha1.PrepullImage{ObjectMeta: metav1.ObjectMeta{Name: image}, Spec: v1alpha1.PrepullImageSpec{Image: image}}
		o.Status.Conditions = []metav1.Condition{{Type: "Ready", Status: status, Reason: reason}}
		if o.Status.Retries = retries; retries != nil {
			o.Status.Conditions = append(o.Status.Conditions, metav1.Condition{Type: "PullFailed", Status: metav1.ConditionTrue, Reason: "Denied"})
		}
		return o
	}
	retry := func(at time.Time) v1alpha1.Retry { return v1alpha1.Retry{Time: metav1.NewTime(at)} }
	images := Images([]v1alpha1.PrepullImage{object("a", true), object("b", false), object("c", false, retry(later), retry(soon)), object("0", true)})
	var got []string
	for _, i := range images {
		got = append(got, string(i.State)+" "+i.Image)
	}
	if diff := cmp.Diff([]string{"Failing c", "Pulling b", "Ready 0", "Ready a"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if at := images[0].RetryTime; at == nil || !at.Equal(soon) {
		t.Errorf("the next try is at %v, want %v", at, soon)
	}
}
