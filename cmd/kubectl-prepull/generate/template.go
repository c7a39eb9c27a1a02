package generate

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// placementOf is where the pods of an object's head may run, nil if the object is its own head or the head has several kinds
// of pods. What controllers and admission add to pods is no constraint of the workload.
func placementOf(head, object map[string]any) ([]v1alpha1.Placement, error) {
	templates := shapeOf(head).templates
	if at(head, "kind") == at(object, "kind") && NameOf(head) == NameOf(object) || len(templates) != 1 {
		return nil, nil
	}
	pod, err := podOf(templates[0])
	if err != nil {
		return nil, err
	}
	return []v1alpha1.Placement{workload.PlacementOf(&pod.Spec, head["kind"] == "DaemonSet")}, nil
}

// podOf is a pod template, typed. An error names the field.
func podOf(template map[string]any) (*corev1.PodTemplateSpec, error) {
	text, err := json.Marshal(map[string]any{"metadata": template["metadata"], "spec": template["spec"]})
	if err != nil {
		return nil, fmt.Errorf("its pod template cannot be read: %w", err)
	}
	var pod corev1.PodTemplateSpec
	var wrong *json.UnmarshalTypeError
	switch err := json.Unmarshal(text, &pod); {
	case errors.As(err, &wrong):
		return nil, fmt.Errorf("its pod template cannot be read: %s is a %s, which does not fit there", wrong.Field, wrong.Value)
	case err != nil:
		return nil, fmt.Errorf("its pod template cannot be read: %w", err)
	}
	return &pod, nil
}

// typed is an object as one that has its pod template, of a kind that says how its pods are bound to nodes.
func typed(object map[string]any, pod *corev1.PodTemplateSpec, namespace string) metav1.Object {
	meta := metav1.ObjectMeta{Namespace: cmp.Or(at(object, "metadata", "namespace"), namespace)}
	switch {
	case object["kind"] == "DaemonSet" || object["kind"] == "Pod" && ofDaemonSet(object):
		return &appsv1.DaemonSet{ObjectMeta: meta, Spec: appsv1.DaemonSetSpec{Template: *pod}}
	case object["kind"] == "Pod":
		meta.Labels, meta.Annotations = pod.Labels, pod.Annotations
		return &corev1.Pod{ObjectMeta: meta, Spec: pod.Spec}
	}
	return &appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{Template: *pod}}
}

// systemOf is the operating system that pods ask for, empty if they do not.
func systemOf(spec *corev1.PodSpec) string {
	if spec.OS != nil {
		return string(spec.OS.Name)
	}
	return spec.NodeSelector[corev1.LabelOSStable]
}
