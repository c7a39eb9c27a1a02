package warmth

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestNoRoom(t *testing.T) {
	t.Parallel()
	unscheduled := func(reason, message string) corev1.PodStatus {
		return corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: reason, Message: message}}}
	}
	for name, tc := range map[string]struct {
		status  corev1.PodStatus
		leaving bool
		want    string
	}{
		"the processors are taken":               {status: unscheduled("Unschedulable", "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) didn't match Pod's node affinity/selector. preemption: 0/3 nodes are available: 1 No preemption victims found for incoming pod, 2 Preemption is not helpful for scheduling."), want: "Insufficient cpu"},
		"so are the places for pods, and memory": {status: unscheduled("Unschedulable", "0/12 nodes are available: 1 Insufficient memory, 1 Too many pods, 11 node(s) didn't satisfy plugin(s) [NodeAffinity]. no new claims to deallocate, preemption: 0/12 nodes are available: 12 Preemption is not helpful for scheduling."), want: "Insufficient memory, Too many pods"},
		"the only node":                          {status: unscheduled("Unschedulable", "0/1 nodes are available: 1 Too many pods."), want: "Too many pods"},
		"in other words":                         {status: unscheduled("Unschedulable", "it is full"), want: "it is full"},
		"it waits for somebody":                  {status: unscheduled("SchedulingGated", "Scheduling is blocked due to non-empty scheduling gates")},
		"the kubelet rejects":                    {status: corev1.PodStatus{Phase: corev1.PodFailed, Reason: "OutOfpods", Message: "Pod was rejected: Node didn't have enough resource: pods"}, want: "Pod was rejected: Node didn't have enough resource: pods"},
		"it has too many processes":              {status: corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted", Message: "Pod was rejected: The node had condition: [PIDPressure]. "}, want: "Pod was rejected: The node had condition: [PIDPressure]."},
		"and says no more":                       {status: corev1.PodStatus{Phase: corev1.PodFailed, Reason: "OutOfpods"}, want: "OutOfpods"},
		"it leaves":                              {status: corev1.PodStatus{Phase: corev1.PodFailed, Reason: "OutOfpods"}, leaving: true},
		"it runs":                                {status: corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pod := &corev1.Pod{Status: tc.status}
			if tc.leaving {
				pod.DeletionTimestamp = &metav1.Time{Time: time.Now()}
			}
			words, found := NoRoom(pod)
			if words != tc.want || found != (tc.want != "") {
				t.Errorf("it says %q, %v", words, found)
			}
		})
	}
}

func TestNodeOf(t *testing.T) {
	t.Parallel()
	meant := func(fields ...corev1.NodeSelectorRequirement) corev1.PodSpec {
		return corev1.PodSpec{Affinity: &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
			NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchFields: fields}},
		}}}}
	}
	byName := corev1.NodeSelectorRequirement{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{"node-1"}}
	for name, tc := range map[string]struct {
		spec corev1.PodSpec
		want string
	}{
		"it is there":         {corev1.PodSpec{NodeName: "node-1"}, "node-1"},
		"it is meant for it":  {meant(byName), "node-1"},
		"it may be anywhere":  {corev1.PodSpec{}, ""},
		"any node would do":   {meant(), ""},
		"it has no node yet":  {corev1.PodSpec{Affinity: &corev1.Affinity{}}, ""},
		"several nodes would": {meant(corev1.NodeSelectorRequirement{Key: "metadata.name", Values: []string{"a", "b"}}), ""},
	} {
		if got := NodeOf(&corev1.Pod{Spec: tc.spec}); got != tc.want {
			t.Errorf("%s: it is of %q", name, got)
		}
	}
}
