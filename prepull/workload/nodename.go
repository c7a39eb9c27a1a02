package workload

import (
	"bytes"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// unscheduled is tolerated by pods that name their node: no scheduler looks at them, and the kubelet minds only NoExecute. It
// also takes pods that ask for resources of which it does not know (pkg/kubelet/lifecycle/predicate.go).
var unscheduled = corev1.Toleration{Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule}

// onNode is an affinity that also requires a node: the kubelet minds that of a pod which names its node.
func onNode(affinity *corev1.Affinity, name string) *corev1.Affinity {
	terms := []corev1.NodeSelectorTerm{{}}
	if a := affinity; a != nil && a.NodeAffinity != nil && a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution != nil {
		terms = slices.Clone(a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms)
	}
	named := corev1.NodeSelectorRequirement{Key: metav1.ObjectNameField, Operator: corev1.NodeSelectorOpIn, Values: []string{name}}
	for i := range terms {
		terms[i].MatchFields = append(slices.Clip(terms[i].MatchFields), named)
	}
	return &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: terms},
	}}
}

// namesNode tells whether a stored pod was created with the name of its node. The scheduler binds one in a way that leaves no
// trace among the managed fields (BindingREST in pkg/registry/core/pod/storage/storage.go).
func namesNode(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.ManagedFields, func(m metav1.ManagedFieldsEntry) bool {
		return m.FieldsV1 != nil && bytes.Contains(m.FieldsV1.GetRawBytes(), []byte(`"f:nodeName":`))
	})
}
