package workload

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/workload/workloadtest"
)

func TestImagesOf(t *testing.T) {
	t.Parallel()
	always := corev1.ContainerRestartPolicyAlways
	full := corev1.PodSpec{
		InitContainers: []corev1.Container{{Image: "init"}, {Image: "sidecar", RestartPolicy: &always}},
		Containers:     []corev1.Container{{Image: "nginx"}, {Image: "docker.io/library/nginx"}, {Image: "init"}, {}},
		Volumes: []corev1.Volume{
			{Name: "model", VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: "model:v1"}}},
			{Name: "scratch"},
		},
		EphemeralContainers: []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Image: "debug"}}},
	}
	template := corev1.PodTemplateSpec{Spec: full}
	optedOut := corev1.PodTemplateSpec{Spec: full, ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{v1alpha1.LabelEnabled: "false"}}}
	deleting := workloadtest.Pod("api", "nginx")
	deleting.DeletionTimestamp = &metav1.Time{Time: time.Unix(1e9, 0)}
	all := []string{"docker.io/library/nginx", "init", "model:v1", "nginx", "sidecar"}

	for name, test := range map[string]struct {
		obj  metav1.Object
		want []string
	}{
		"a pod":                {&corev1.Pod{Spec: full}, all},
		"a Deployment":         {&appsv1.Deployment{Spec: appsv1.DeploymentSpec{Template: template}}, all},
		"a StatefulSet":        {&appsv1.StatefulSet{Spec: appsv1.StatefulSetSpec{Template: template}}, all},
		"a DaemonSet":          {&appsv1.DaemonSet{Spec: appsv1.DaemonSetSpec{Template: template}}, all},
		"a Job":                {&batchv1.Job{Spec: batchv1.JobSpec{Template: template}}, all},
		"a CronJob":            {&batchv1.CronJob{Spec: batchv1.CronJobSpec{JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: template}}}}, all},
		"another kind":         {&corev1.Service{}, nil},
		"no containers":        {&corev1.Pod{}, nil},
		"only no images":       {&corev1.Pod{Spec: workloadtest.Spec("", "")}, []string{}},
		"being deleted":        {deleting, nil},
		"a pod that opted out": {workloadtest.Labelled(workloadtest.Pod("api", "nginx"), v1alpha1.LabelEnabled, "false"), nil},
		"a pod that opts in like its own namespace": {workloadtest.Labelled(workloadtest.Pod("api", "nginx"), v1alpha1.LabelEnabled, "true"), []string{"nginx"}},
		"a template that opted out":                 {&appsv1.Deployment{Spec: appsv1.DeploymentSpec{Template: optedOut}}, nil},
		"the label on the Deployment alone is not the template's": {
			workloadtest.Labelled(workloadtest.Deployment("api", "nginx"), v1alpha1.LabelEnabled, "false"), []string{"nginx"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(test.want, ImagesOf(test.obj, nil)); diff != "" {
				t.Errorf("imagesOf (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSoManyContainersOfAWorkloadCount(t *testing.T) {
	t.Parallel()
	d := workloadtest.Deployment("many")
	for i := range maxPulls + 100 {
		d.Spec.Template.Spec.Containers = append(d.Spec.Template.Spec.Containers, corev1.Container{Name: fmt.Sprint("c-", i), Image: fmt.Sprint("app:v", i)})
	}
	if got := len(ImagesOf(d, nil)); got != maxPulls {
		t.Errorf("%d images are taught", got)
	}
}

func TestTwoHundredContainersTeachTwoHundredImages(t *testing.T) {
	t.Parallel()
	var images []string
	for i := range 200 {
		images = append(images, "registry.test/app:"+strings.Repeat("v", i+1))
	}
	if diff := cmp.Diff(images, ImagesOf(workloadtest.Deployment("wide", images...), nil)); diff != "" {
		t.Errorf("imagesOf (-want +got):\n%s", diff)
	}
}

func TestUserOf(t *testing.T) {
	t.Parallel()
	ofShop := func(kind, name string) v1alpha1.User {
		return v1alpha1.User{Kind: kind, Namespace: "shop", Name: name, UID: types.UID("uid-of-" + name)}
	}
	hash := appsv1.DefaultDeploymentUniqueLabelKey
	withOwner := workloadtest.Controlled(workloadtest.Pod("w-1"), "Workflow", "w")
	withOwner.OwnerReferences[0].UID = types.UID(strings.Repeat("u", 254))
	uncontrolled := workloadtest.Pod("api")
	uncontrolled.OwnerReferences = []metav1.OwnerReference{{Kind: "Job", Name: "j", UID: "u"}}

	for name, test := range map[string]struct {
		obj  metav1.Object
		want v1alpha1.User
	}{
		"a workload is its own user":                   {workloadtest.Deployment("api"), ofShop("Deployment", "api")},
		"a Deployment of an operator too":              {workloadtest.Controlled(workloadtest.Deployment("api"), "Shop", "s"), ofShop("Deployment", "api")},
		"a bare pod":                                   {workloadtest.Pod("api"), ofShop("Pod", "api")},
		"a pod with an owner that does not control it": {uncontrolled, ofShop("Pod", "api")},
		"a mirror pod is the pod, not the node":        {workloadtest.Controlled(workloadtest.Pod("etcd"), "Node", "n1"), ofShop("Pod", "etcd")},
		"a pod of a StatefulSet":                       {workloadtest.Controlled(workloadtest.Pod("db-0"), "StatefulSet", "db"), ofShop("StatefulSet", "db")},
		"a pod of a Deployment": {
			workloadtest.Labelled(workloadtest.Controlled(workloadtest.Pod("api-5d9c-x"), "ReplicaSet", "api-5d9c"), hash, "5d9c"),
			v1alpha1.User{Kind: "Deployment", Namespace: "shop", Name: "api"},
		},
		"a pod of a ReplicaSet without a Deployment": {workloadtest.Controlled(workloadtest.Pod("api-x"), "ReplicaSet", "api-5d9c"), ofShop("ReplicaSet", "api-5d9c")},
		"a pod whose hash is not its ReplicaSet's": {
			workloadtest.Labelled(workloadtest.Controlled(workloadtest.Pod("api-x"), "ReplicaSet", "api-5d9c"), hash, "beef"), ofShop("ReplicaSet", "api-5d9c"),
		},
		"a pod of a job":     {workloadtest.Controlled(workloadtest.Pod("sum-1"), "Job", "sum"), ofShop("Job", "sum")},
		"a job":              {workloadtest.Job("sum"), ofShop("Job", "sum")},
		"a job of a CronJob": {workloadtest.Controlled(workloadtest.Job("sum-29"), "CronJob", "sum"), ofShop("CronJob", "sum")},
		"a pod of a controller whose name is none": {
			workloadtest.Controlled(workloadtest.Pod("w-1"), "Workflow", strings.Repeat("w", 254)), ofShop("Pod", "w-1"),
		},
		"or whose kind is none":          {workloadtest.Controlled(workloadtest.Pod("w-1"), strings.Repeat("W", 1_000_000), "w"), ofShop("Pod", "w-1")},
		"or whose UID is none":           {withOwner, ofShop("Pod", "w-1")},
		"a pod of an unknown controller": {workloadtest.Controlled(workloadtest.Pod("w-1"), "Workflow", "w"), ofShop("Workflow", "w")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(test.want, UserOf(test.obj)); diff != "" {
				t.Errorf("userOf (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFinished(t *testing.T) {
	t.Parallel()
	job := func(kind batchv1.JobConditionType, status corev1.ConditionStatus) *batchv1.Job {
		return &batchv1.Job{Status: batchv1.JobStatus{Conditions: []batchv1.JobCondition{{Type: kind, Status: status}}}}
	}
	pod := func(phase corev1.PodPhase) *corev1.Pod { return &corev1.Pod{Status: corev1.PodStatus{Phase: phase}} }
	for name, test := range map[string]struct {
		obj  metav1.Object
		want bool
	}{
		"a pending pod":               {pod(corev1.PodPending), false},
		"a running pod":               {pod(corev1.PodRunning), false},
		"a pod that did its work":     {pod(corev1.PodSucceeded), true},
		"a pod that failed":           {pod(corev1.PodFailed), true},
		"a job":                       {&batchv1.Job{}, false},
		"a suspended job":             {job(batchv1.JobSuspended, corev1.ConditionTrue), false},
		"a complete job":              {job(batchv1.JobComplete, corev1.ConditionTrue), true},
		"a failed job":                {job(batchv1.JobFailed, corev1.ConditionTrue), true},
		"a job that did not fail":     {job(batchv1.JobFailed, corev1.ConditionFalse), false},
		"a Deployment never finishes": {workloadtest.Deployment("api"), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := Finished(test.obj); got != test.want {
				t.Errorf("finished = %t, want %t", got, test.want)
			}
		})
	}
}

func TestOptedIn(t *testing.T) {
	t.Parallel()
	on := map[string]string{v1alpha1.LabelEnabled: "true"}
	for name, test := range map[string]struct {
		ns   metav1.ObjectMeta
		want bool
	}{
		"a namespace with the label":        {metav1.ObjectMeta{Name: "shop", Labels: on}, true},
		"a namespace without the label":     {metav1.ObjectMeta{Name: "shop"}, false},
		"a namespace that says false":       {metav1.ObjectMeta{Name: "shop", Labels: map[string]string{v1alpha1.LabelEnabled: "false"}}, false},
		"a namespace that is being deleted": {metav1.ObjectMeta{Name: "shop", Labels: on, DeletionTimestamp: &metav1.Time{Time: time.Unix(1e9, 0)}}, false},
		"our own, even with the label":      {metav1.ObjectMeta{Name: "kube-prepull", Labels: on}, false},
		"kube-system":                       {metav1.ObjectMeta{Name: "kube-system", Labels: on}, false},
		"kube-public":                       {metav1.ObjectMeta{Name: "kube-public", Labels: on}, false},
		"kube-node-lease":                   {metav1.ObjectMeta{Name: "kube-node-lease", Labels: on}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := OptedIn(&test.ns, "kube-prepull"); got != test.want {
				t.Errorf("optedIn = %t, want %t", got, test.want)
			}
		})
	}
}

func TestWhatTeachesNoImages(t *testing.T) {
	t.Parallel()
	pod := func(edit func(*corev1.Pod)) *corev1.Pod {
		p := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app:1"}}}}
		edit(p)
		return p
	}
	for name, tc := range map[string]struct {
		pod  *corev1.Pod
		want int
	}{
		"a pod":                          {pod(func(*corev1.Pod) {}), 1},
		"one of kubectl debug":           {pod(func(p *corev1.Pod) { p.Labels = map[string]string{"app.kubernetes.io/managed-by": "kubectl-debug"} }), 0},
		"one that somebody else manages": {pod(func(p *corev1.Pod) { p.Labels = map[string]string{"app.kubernetes.io/managed-by": "Helm"} }), 1},
		"an image that is never pulled":  {pod(func(p *corev1.Pod) { p.Spec.Containers[0].ImagePullPolicy = corev1.PullNever }), 0},
		"one that another container pulls": {pod(func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{{Name: "init", Image: "app:1", ImagePullPolicy: corev1.PullNever}}
		}), 1},
	} {
		if got := ImagesOf(tc.pod, nil); len(got) != tc.want {
			t.Errorf("%s teaches %v", name, got)
		}
	}
}
