package plan

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
	"github.com/kube-prepull/kube-prepull/prepull/warmth"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

func TestAnEventIsEnoughToTakeAnImageOut(t *testing.T) {
	t.Parallel()
	s := State{Nodes: prepulltest.Nodes(1), Images: []v1alpha1.PrepullImage{prepulltest.Learned("a:1", 100), prepulltest.Learned("good:1", 1)}}
	s.carryOut(Make(s, testOptions, prepulltest.Noon))
	bad, good := workload.ObjectName("a:1"), workload.ObjectName("good:1")
	pod := prepulltest.Pod("node-000", prepulltest.Noon, prepulltest.Done("install", 1, 2), prepulltest.Waits(bad, "PodInitializing", ""), prepulltest.Waits(good, "PodInitializing", ""))
	pod.UID = "uid"
	s.Pods = []*corev1.Pod{warmth.WithPullEvents(pod, warmth.PullEvents([]corev1.Event{{
		InvolvedObject: corev1.ObjectReference{UID: "uid", FieldPath: "spec.initContainers{" + bad + "}"},
		Message:        `Failed to pull image "a:1": rpc error: code = NotFound desc = a:1: not found`,
		LastTimestamp:  metav1.NewTime(prepulltest.Noon.Add(2 * time.Second)),
	}}))}
	p := Make(s, testOptions, prepulltest.Noon.Add(3*time.Second))
	s.carryOut(p)
	if diff := cmp.Diff([]string{"good:1"}, s.listOf("linux-amd64")); diff != "" || len(p.Quarantined) != 1 {
		t.Errorf("%v left the list (-want +got):\n%s", p.Quarantined, diff)
	}
	if got := s.status(bad).State; got != "PullFailed: not found" {
		t.Errorf("state %s", got)
	}
}
