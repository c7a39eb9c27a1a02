package plan

import (
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/nodeclass"
	"github.com/kube-prepull/kube-prepull/prepull/warmth"
)

// RefusedPodEvents selects the events in which the DaemonSet controller reports pods that it could not make
// (slowStartBatch in pkg/controller/daemon/daemon_controller.go).
var RefusedPodEvents = fields.Set{"reason": "FailedCreate", "involvedObject.kind": "DaemonSet"}.AsSelector()

// RefusedPods are the words with which the API server refuses the pods of DaemonSets, by the name of the DaemonSet. A pod that
// was made after the last of them ends it: what kept pods from being made is gone.
func RefusedPods(events []corev1.Event, pods []*corev1.Pod) map[string]string {
	made := map[string]time.Time{}
	for _, pod := range pods {
		name := daemonSetOf(pod)
		if pod.CreationTimestamp.After(made[name]) {
			made[name] = pod.CreationTimestamp.Time
		}
	}
	last, words := map[string]*corev1.Event{}, map[string]string{}
	for i := range events {
		e := &events[i]
		name, before := e.InvolvedObject.Name, last[e.InvolvedObject.Name]
		if e.LastTimestamp.Time.Before(made[name]) || before != nil && !laterEvent(e, before) {
			continue
		}
		last[name] = e
		words[name] = warmth.PlainMessage(withoutPod(e.Message), e.Reason)
	}
	return words
}

// laterEvent tells whether an event is the later one of two, or has the first words of two at the same time.
func laterEvent(e, other *corev1.Event) bool {
	if e.LastTimestamp.Equal(&other.LastTimestamp) {
		return e.Message < other.Message
	}
	return e.LastTimestamp.After(other.LastTimestamp.Time)
}

// withoutPod is the message of such an event without what every one says, and without the name of the pod: each try has
// another one. The tenth and later ones are told together (EventAggregator in client-go/tools/record/events_cache.go).
func withoutPod(message string) string {
	message = strings.TrimPrefix(message, "(combined from similar events): ")
	message = strings.TrimPrefix(message, "Error creating: ")
	if _, why, found := strings.Cut(message, " is forbidden: "); found && strings.HasPrefix(message, "pods ") {
		return why
	}
	if _, why, found := strings.Cut(message, " is invalid: "); found && strings.HasPrefix(message, "Pod ") {
		return why
	}
	return message
}

// lacksPods tells whether a node of a class has no prepull pod with the list of the stored DaemonSet.
func lacksPods(c *nodeclass.Class, ds *appsv1.DaemonSet, pods []*corev1.Pod) bool {
	has := map[string]bool{}
	for _, pod := range pods {
		if pod.DeletionTimestamp == nil && pod.Labels[v1alpha1.LabelList] == ds.Labels[v1alpha1.LabelList] {
			has[warmth.NodeOf(pod)] = true
		}
	}
	for _, n := range c.Pullable {
		if !has[n.Name] {
			return true
		}
	}
	return false
}

// ReasonDaemonSetRefused is that of the condition Ready while a prepull DaemonSet cannot be written.
const ReasonDaemonSetRefused = "DaemonSetRefused"

// refusal is why a class has no DaemonSet, or no pods, as its images' condition Ready says it.
type refusal struct {
	reason, message string
}

// refusalOf the DaemonSet of a class, empty if there is none.
func (s *State) refusalOf(name string) refusal {
	if words := s.Refused[name]; words != "" {
		return refusal{ReasonDaemonSetRefused, "The prepull DaemonSet cannot be written: " + words}
	}
	if words := s.RefusedPods[name]; words != "" {
		return refusal{"PodsRefused", "Prepull pods are refused: " + words}
	}
	return refusal{}
}
