package plan

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
)

// warmingOptions have everything that concerns new nodes.
func warmingOptions() Options {
	o := testOptions
	o.NodeCondition = true
	o.Gate = Gate{Enabled: true, TaintKey: v1alpha1.TaintWarming, Deadline: 5 * time.Minute, MaxBytes: 10 << 30}
	return o
}

// inUse is a learned image with a user.
func inUse(image string) v1alpha1.PrepullImage {
	o := prepulltest.Learned(image, 1)
	o.Status.UserCount = 1
	return o
}

func TestImagesReady(t *testing.T) {
	t.Parallel()
	before := metav1.NewTime(prepulltest.Noon.Add(-time.Hour))
	was := func(status corev1.ConditionStatus, reason, message string) *corev1.NodeCondition {
		return &corev1.NodeCondition{Type: v1alpha1.ConditionImagesReady, Status: status, Reason: reason, Message: message, LastTransitionTime: before}
	}
	warm := was(corev1.ConditionTrue, "ImagesPresent", "17 of 17 images")
	for name, tc := range map[string]struct {
		progress progress
		notReady bool
		old      *corev1.NodeCondition
		want     corev1.NodeCondition // without a time: it turns
	}{
		"a new node that pulls": {
			progress{outlook: outlookWaiting, images: 18, present: 12, pulling: 1}, false, nil,
			corev1.NodeCondition{Status: "False", Reason: "Pulling", Message: "12 of 18 images, 1 pulling"},
		},
		"one that pulls before it is Ready": {
			progress{outlook: outlookWaiting, images: 18, pulling: 1}, true, nil,
			corev1.NodeCondition{Status: "False", Reason: "Pulling", Message: "0 of 18 images, 1 pulling"},
		},
		"one that is not Ready": {
			progress{outlook: outlookWaiting, images: 18}, true, nil,
			corev1.NodeCondition{Status: "Unknown", Reason: "NodeNotReady", Message: "0 of 18 images, 0 pulling"},
		},
		"one whose pod has not come": {
			progress{outlook: outlookWaiting, images: 18}, false, nil,
			corev1.NodeCondition{Status: "False", Reason: "Pending", Message: "0 of 18 images, 0 pulling"},
		},
		"one that is not complete": {
			progress{outlook: outlookUnknown, images: 18}, false, nil,
			corev1.NodeCondition{Status: "Unknown", Reason: "NodeUnfinished", Message: "The node has not got all its labels yet."},
		},
		"one that pulls on keeps its time": {
			progress{outlook: outlookWaiting, images: 18, present: 13, pulling: 1}, false, was("False", "Pulling", "12 of 18 images, 1 pulling"),
			corev1.NodeCondition{Status: "False", Reason: "Pulling", Message: "13 of 18 images, 1 pulling", LastTransitionTime: before},
		},
		"one that is warm now": {
			progress{outlook: outlookWarm, images: 18, present: 18}, false, was("False", "Pulling", "17 of 18 images, 1 pulling"),
			corev1.NodeCondition{Status: "True", Reason: "ImagesPresent", Message: "18 of 18 images"},
		},
		"an image of 50 GB is not waited for, and that is told": {
			progress{outlook: outlookWarm, images: 18, present: 18, oversized: 1}, false, nil,
			corev1.NodeCondition{Status: "True", Reason: "ImagesPresent", Message: "18 of 18 images; 1 too large to wait for (gate.maxBytes)"},
		},
		"one with nothing to pull": {
			progress{outlook: outlookNothing}, false, nil,
			corev1.NodeCondition{Status: "True", Reason: "NothingToPull", Message: "no images"},
		},
		"one that lacks what fails": {
			progress{outlook: outlookStuck, images: 18, present: 17, trouble: "a:1 cannot be pulled: access denied"}, false, nil,
			corev1.NodeCondition{Status: "True", Reason: "SomeFailed", Message: "17 of 18 images, 0 pulling; a:1 cannot be pulled: access denied"},
		},
		"one that has nothing": {
			progress{outlook: outlookStuck, images: 2, trouble: "a:1 cannot be pulled: access denied"}, false, nil,
			corev1.NodeCondition{Status: "False", Reason: "AllFailed", Message: "0 of 2 images, 0 pulling; a:1 cannot be pulled: access denied"},
		},
		"a warm node that gets a new image says what it said":     {progress{outlook: outlookWaiting, images: 18, present: 17, pulling: 1}, false, warm, *warm},
		"so does one on which the new image fails":                {progress{outlook: outlookStuck, images: 18, present: 17}, false, warm, *warm},
		"so does one whose kubelet is away, and its pod with it":  {progress{outlook: outlookWaiting, images: 18}, true, warm, *warm},
		"so does one that is not to have any images any more":     {progress{outlook: outlookNothing}, false, warm, *warm},
		"and it counts again once the new image is there as well": {progress{outlook: outlookWarm, images: 18, present: 18}, false, warm, corev1.NodeCondition{Status: "True", Reason: "ImagesPresent", Message: "18 of 18 images", LastTransitionTime: before}},
	} {
		tc.want.Type = v1alpha1.ConditionImagesReady
		if tc.want.LastTransitionTime.IsZero() {
			tc.want.LastTransitionTime = metav1.NewTime(prepulltest.Noon)
		}
		if diff := cmp.Diff(tc.want, imagesReady(tc.progress, !tc.notReady, tc.old, prepulltest.Noon)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestConditionsThatTurnGoBeforeWords(t *testing.T) {
	t.Parallel()
	s := State{Nodes: prepulltest.Nodes(3), Images: []v1alpha1.PrepullImage{inUse("a:1")}}
	s.carryOut(Make(s, warmingOptions(), prepulltest.Noon))
	s.runPods(prepulltest.Noon, nothingFails)
	s.Nodes[0].Status.Conditions = append(s.Nodes[0].Status.Conditions, corev1.NodeCondition{Type: v1alpha1.ConditionImagesReady, Status: "True", Reason: "ImagesPresent", Message: "3 of 3 images"})
	s.Nodes[1].Status.Conditions = append(s.Nodes[1].Status.Conditions, corev1.NodeCondition{Type: v1alpha1.ConditionImagesReady, Status: "True", Reason: "ImagesPresent", Message: "1 of 1 images"})
	changes := Make(s, warmingOptions(), prepulltest.Noon).Conditions
	if len(changes) != 2 || changes[0].Node != "node-002" || changes[0].Minor || changes[1].Node != "node-000" || !changes[1].Minor {
		t.Errorf("changes %+v", changes)
	}
	s.Nodes[2].DeletionTimestamp = &metav1.Time{Time: prepulltest.Noon}
	if changes = Make(s, warmingOptions(), prepulltest.Noon).Conditions; len(changes) != 1 || changes[0].Node != "node-000" {
		t.Errorf("with a node that leaves: changes %+v", changes)
	}
	if quiet := Make(s, testOptions, prepulltest.Noon).Conditions; len(quiet) > 0 {
		t.Errorf("without nodeCondition there are changes %+v", quiet)
	}
}
