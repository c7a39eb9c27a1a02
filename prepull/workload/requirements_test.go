package workload

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/workload/workloadtest"
)

func TestFootprintOf(t *testing.T) {
	t.Parallel()
	urgent := map[string]string{v1alpha1.AnnotationPriority: "7", v1alpha1.AnnotationRequired: "true"}
	spec := workloadtest.Spec("app:v1")
	spec.ServiceAccountName = "robot"
	own := workloadtest.Spec("app:v1")
	own.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "z"}, {Name: "a"}, {}, {Name: "z"}, {Name: strings.Repeat("a", 254)}, {Name: strings.Repeat("b", 1_000_000)}}
	nameless := workloadtest.Spec("app:v1")
	nameless.ImagePullSecrets = []corev1.LocalObjectReference{{}}
	deployment := func(spec corev1.PodSpec) metav1.Object {
		d := workloadtest.Deployment("api")
		d.Spec.Template.Spec, d.Spec.Template.Annotations = spec, urgent
		d.Annotations = map[string]string{v1alpha1.AnnotationPriority: "9"}
		return d
	}
	pod := workloadtest.Pod("api", "app:v1")
	pod.Annotations = urgent
	cron := &batchv1.CronJob{ObjectMeta: workloadtest.InShop("sum")}
	cron.Spec.JobTemplate.Spec.Template.Annotations = urgent

	for name, test := range map[string]struct {
		obj  metav1.Object
		want Requirements
	}{
		"a template with a service account":       {deployment(spec), Requirements{Account: "robot", priority: 7, need: Required}},
		"a template without one has the default":  {deployment(workloadtest.Spec("app:v1")), Requirements{Account: "default", priority: 7, need: Required}},
		"pull secrets of its own are all it gets": {deployment(own), Requirements{Secrets: SecretsIn("shop", []string{"a", "z"}), priority: 7, need: Required}},
		"nor does it get any beside an empty one": {deployment(nameless), Requirements{priority: 7, need: Required}},
		"a pod has got those of its account":      {pod, Requirements{priority: 7, need: Required}},
		"a CronJob":                               {cron, Requirements{Account: "default", priority: 7, need: Required}},
		"another kind":                            {&corev1.Service{}, Requirements{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(test.want, RequirementsOf(test.obj, nil), cmp.AllowUnexported(Requirements{})); diff != "" {
				t.Errorf("RequirementsOf (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPriorityOf(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int32{"": 0, "7": 7, "-3": -3, "2147483647": 2147483647, "2147483648": 0, "1.5": 0, "high": 0, " 1": 0} {
		if got := priorityOf(map[string]string{v1alpha1.AnnotationPriority: text}); got != want {
			t.Errorf("priority %q is %d, want %d", text, got, want)
		}
	}
	if got := priorityOf(nil); got != 0 {
		t.Errorf("without annotations it is %d", got)
	}
}

func TestAlwaysPulled(t *testing.T) {
	t.Parallel()
	container := func(image string, policy corev1.PullPolicy) corev1.Container {
		return corev1.Container{Image: image, ImagePullPolicy: policy}
	}
	volume := func(image string, policy corev1.PullPolicy) corev1.Volume {
		return corev1.Volume{VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: image, PullPolicy: policy}}}
	}
	spec := corev1.PodSpec{
		InitContainers: []corev1.Container{container("init", corev1.PullAlways), container("both", corev1.PullNever)},
		Containers:     []corev1.Container{container("app", corev1.PullIfNotPresent), container("both", corev1.PullAlways), container("unset", "")},
		Volumes:        []corev1.Volume{volume("model", corev1.PullAlways), volume("data", corev1.PullIfNotPresent), {}},
	}
	want := map[string]bool{"init": true, "both": true, "model": true}
	if diff := cmp.Diff(want, alwaysPulled(pullsOf(&corev1.Pod{Spec: spec}, nil))); diff != "" {
		t.Errorf("alwaysPulled (-want +got):\n%s", diff)
	}
}
