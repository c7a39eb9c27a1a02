// Package prepulltest has nodes, pods and PrepullImages for tests.
package prepulltest

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// Noon is the time of tests.
var Noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// Node is a ready Linux node of an architecture.
func Node(name, arch string) corev1.Node {
	return corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
			corev1.LabelOSStable: "linux", corev1.LabelArchStable: arch, corev1.LabelHostname: name,
		}},
		Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}},
	}
}

// Nodes are n ready amd64 nodes.
func Nodes(n int) []corev1.Node {
	var nodes []corev1.Node
	for i := range n {
		nodes = append(nodes, Node(fmt.Sprintf("node-%03d", i), "amd64"))
	}
	return nodes
}

// Learned is a PrepullImage that the learner made, with a number of starts.
func Learned(image string, starts int) v1alpha1.PrepullImage {
	o := Declared(workload.ObjectName(image), image)
	o.Labels = map[string]string{v1alpha1.LabelManagedBy: v1alpha1.Name}
	o.Status.FirstSeenTime = &o.CreationTimestamp
	o.Status.Starts = &v1alpha1.Starts{Count: *resource.NewQuantity(int64(starts), resource.DecimalSI), Time: metav1.NewTime(Noon)}
	return o
}

// Declared is a PrepullImage that a person made an hour ago.
func Declared(name, image string) v1alpha1.PrepullImage {
	return v1alpha1.PrepullImage{
		ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(Noon.Add(-time.Hour))},
		Spec:       v1alpha1.PrepullImageSpec{Image: image},
	}
}

// Done is an init container that ran well, from one second of the test hour to another.
func Done(name string, from, to int) corev1.ContainerStatus {
	return corev1.ContainerStatus{Name: name, State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		Reason:     "Completed",
		StartedAt:  metav1.NewTime(Noon.Add(time.Duration(from) * time.Second)),
		FinishedAt: metav1.NewTime(Noon.Add(time.Duration(to) * time.Second)),
	}}}
}

// Waits is an init container that waits for a reason; PodInitializing is also what a pull looks like.
func Waits(name, reason, message string) corev1.ContainerStatus {
	return corev1.ContainerStatus{Name: name, State: corev1.ContainerState{
		Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message},
	}}
}

// Pod was started at once, on a node whose clock is right.
func Pod(node string, created time.Time, statuses ...corev1.ContainerStatus) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "prepull-" + node, Labels: v1alpha1.PrepullLabels(), CreationTimestamp: metav1.NewTime(created)},
		Spec:       corev1.PodSpec{NodeName: node},
		Status:     corev1.PodStatus{StartTime: &metav1.Time{Time: created}, InitContainerStatuses: statuses},
	}
}
