package prepull

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

func TestAnEventIsEnoughToTakeAnImageOut(t *testing.T) {
	t.Parallel()
	s := state{nodes: testNodes(1), images: []v1alpha1.PrepullImage{learnedObject("a:1", 100), learnedObject("good:1", 1)}}
	s.carryOut(makePlan(s, testOptions, noon))
	bad, good := ObjectName("a:1"), ObjectName("good:1")
	pod := testPod("node-000", noon, done("install", 1, 2), waits(bad, "PodInitializing", ""), waits(good, "PodInitializing", ""))
	pod.UID = "uid"
	s.pods = []*corev1.Pod{withPullEvents(pod, pullEvents([]corev1.Event{{
		InvolvedObject: corev1.ObjectReference{UID: "uid", FieldPath: "spec.initContainers{" + bad + "}"},
		Message:        `Failed to pull image "a:1": rpc error: code = NotFound desc = a:1: not found`,
		LastTimestamp:  metav1.NewTime(noon.Add(2 * time.Second)),
	}}))}
	p := makePlan(s, testOptions, noon.Add(3*time.Second))
	s.carryOut(p)
	if diff := cmp.Diff([]string{"good:1"}, s.listOf("linux-amd64")); diff != "" || len(p.quarantined) != 1 {
		t.Errorf("%v left the list (-want +got):\n%s", p.quarantined, diff)
	}
	if got := s.status(bad).State; got != "PullFailed: not found" {
		t.Errorf("state %s", got)
	}
}
