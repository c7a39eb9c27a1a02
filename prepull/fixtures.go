// Package prepulltest has nodes, pods and PrepullImages for tests.
package prepull

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// noon is the time of tests.
var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// testNode is a ready Linux node of an architecture.
func testNode(name, arch string) corev1.Node {
	return corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
			corev1.LabelOSStable: "linux", corev1.LabelArchStable: arch, corev1.LabelHostname: name,
		}},
		Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}},
	}
}

// testNodes are n ready amd64 nodes.
func testNodes(n int) []corev1.Node {
	var nodes []corev1.Node
	for i := range n {
		nodes = append(nodes, testNode(fmt.Sprintf("node-%03d", i), "amd64"))
	}
	return nodes
}

// learnedObject is a PrepullImage that the learner made, with a number of starts.
func learnedObject(image string, starts int) v1alpha1.PrepullImage {
	o := declaredObject(ObjectName(image), image)
	o.Labels = map[string]string{v1alpha1.LabelManagedBy: v1alpha1.Name}
	o.Status.FirstSeenTime = &o.CreationTimestamp
	o.Status.Starts = &v1alpha1.Starts{Count: *resource.NewQuantity(int64(starts), resource.DecimalSI), Time: metav1.NewTime(noon)}
	return o
}

// declaredObject is a PrepullImage that a person made an hour ago.
func declaredObject(name, image string) v1alpha1.PrepullImage {
	return v1alpha1.PrepullImage{
		ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(noon.Add(-time.Hour))},
		Spec:       v1alpha1.PrepullImageSpec{Image: image},
	}
}

// done is an init container that ran well, from one second of the test hour to another.
func done(name string, from, to int) corev1.ContainerStatus {
	return corev1.ContainerStatus{Name: name, State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		Reason:     "Completed",
		StartedAt:  metav1.NewTime(noon.Add(time.Duration(from) * time.Second)),
		FinishedAt: metav1.NewTime(noon.Add(time.Duration(to) * time.Second)),
	}}}
}

// waits is an init container that waits for a reason; PodInitializing is also what a pull looks like.
func waits(name, reason, message string) corev1.ContainerStatus {
	return corev1.ContainerStatus{Name: name, State: corev1.ContainerState{
		Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message},
	}}
}

// testPod was started at once, on a node whose clock is right.
func testPod(node string, created time.Time, statuses ...corev1.ContainerStatus) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "prepull-" + node, Labels: v1alpha1.PrepullLabels(), CreationTimestamp: metav1.NewTime(created)},
		Spec:       corev1.PodSpec{NodeName: node},
		Status:     corev1.PodStatus{StartTime: &metav1.Time{Time: created}, InitContainerStatuses: statuses},
	}
}
