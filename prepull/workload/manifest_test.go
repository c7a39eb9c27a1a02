package workload

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

func TestImagesOfAWorkload(t *testing.T) {
	t.Parallel()
	spec := corev1.PodSpec{
		NodeSelector:     map[string]string{"pool": "web"},
		ImagePullSecrets: []corev1.LocalObjectReference{{Name: "s"}},
		InitContainers:   []corev1.Container{{Name: "b", Image: "b:1"}},
		Containers:       []corev1.Container{{Name: "a", Image: "a:1"}, {Name: "c", Image: "a:1"}},
	}
	template := corev1.PodTemplateSpec{Spec: spec}
	meta := metav1.ObjectMeta{Namespace: "shop"}
	want := []Image{
		{Name: "a:1", Placements: []v1alpha1.Placement{{NodeSelector: spec.NodeSelector}}, PullSecrets: []v1alpha1.SecretReference{{Namespace: "shop", Name: "s"}}},
		{Name: "b:1", Placements: []v1alpha1.Placement{{NodeSelector: spec.NodeSelector}}, PullSecrets: []v1alpha1.SecretReference{{Namespace: "shop", Name: "s"}}},
	}
	for name, workload := range map[string]metav1.Object{
		"a pod":        &corev1.Pod{ObjectMeta: meta, Spec: spec},
		"a Deployment": &appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{Template: template}},
		"a CronJob": &batchv1.CronJob{ObjectMeta: meta, Spec: batchv1.CronJobSpec{
			JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: template}},
		}},
	} {
		if diff := cmp.Diff(want, FromManifest(workload)); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
	}
	if got := FromManifest(&corev1.Service{}); got != nil {
		t.Errorf("a Service has %v", got)
	}
}
