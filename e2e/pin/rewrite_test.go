package pin

import (
	"github.com/kube-prepull/kube-prepull/e2e/lab"

	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
)

// relabel changes the rewrite label (empty: removes it), and returns when every admission goes by it, and by what becomes of pull
// policies. A bare pod that is tried out tells; the API server and each manager learn of a label in their own time.
func (n pinning) relabel(t *testing.T, mode string) {
	t.Helper()
	value := "null"
	if mode != "" {
		value = fmt.Sprintf("%q", mode)
	}
	patch := fmt.Sprintf(`{"metadata":{"labels":{"kube-prepull.io/rewrite":%s}}}`, value)
	if _, err := n.Client().CoreV1().Namespaces().Patch(t.Context(), n.Name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	n.Versions(t, "probe", 1)
	n.point(t, "probe", "latest", "v1")
	inARow := 0
	lab.Eventually(t, "the label to count", func() error {
		inARow++
		for tag, want := range map[string]bool{"latest": mode != "", "v1": mode == "tags"} {
			tried := lab.PodOn("", "probe", n.Image("probe:"+tag))
			tried.Spec.Containers[0].ImagePullPolicy = corev1.PullAlways
			c := n.tryPod(t, tried).Spec.Containers[0]
			if pinned, kept := strings.Contains(c.Image, "@"), c.ImagePullPolicy == corev1.PullAlways; pinned != want || kept == want {
				inARow = 0
				return fmt.Errorf("a pod has the image %s, %s", c.Image, c.ImagePullPolicy)
			}
		}
		if inARow < 10 {
			return fmt.Errorf("it counted %d times", inARow)
		}
		return nil
	})
}

// tryPod is what a pod would be, by a dry run.
func (n pinning) tryPod(t *testing.T, pod *corev1.Pod) *corev1.Pod {
	t.Helper()
	pod.Namespace = n.Name
	tried, err := n.Client().CoreV1().Pods(n.Name).Create(t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if err != nil {
		t.Fatal(err)
	}
	return tried
}

// point moves a tag of a repository to one of its versions.
func (n pinning) point(t *testing.T, repository, tag, version string) {
	t.Helper()
	lab.Retag(t, n.Registry, n.Name+"/"+repository+":"+version, tag)
}

func (n pinning) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	output, err := n.Kubectl(t.Context(), append([]string{"--namespace=" + n.Name}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	return output
}

// manifest writes a file for kubectl.
func (n pinning) manifest(t *testing.T, content string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "manifest.yaml")
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// podTemplate is of one container with the pull policy that the API server chooses for the image.
func podTemplate(name, image string) corev1.PodTemplateSpec {
	template := lab.Deployment(name, image, 1).Spec.Template
	template.Spec.Containers[0].ImagePullPolicy = ""
	return template
}

// untilStarted makes containers that end by themselves.
func untilStarted(template *corev1.PodTemplateSpec) {
	template.Spec.RestartPolicy = corev1.RestartPolicyNever
	for i := range template.Spec.Containers {
		template.Spec.Containers[i].Args = []string{"get", "https://$(KUBERNETES_SERVICE_HOST):$(KUBERNETES_SERVICE_PORT)/healthz"}
	}
}

// create makes a workload of one replica, of a kind as kubectl says it.
func (n pinning) create(t *testing.T, kind, name string, template corev1.PodTemplateSpec) {
	t.Helper()
	ctx, apps, batch, o := t.Context(), n.Client().AppsV1(), n.Client().BatchV1(), metav1.CreateOptions{}
	meta, one, now := metav1.ObjectMeta{Name: name}, int32(1), int64(0)
	selector := &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}
	template.Spec.TerminationGracePeriodSeconds = &now
	var err error
	switch kind {
	case "deployment":
		_, err = apps.Deployments(n.Name).Create(ctx, &appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{Replicas: &one, Selector: selector, Template: template}}, o)
	case "replicaset":
		_, err = apps.ReplicaSets(n.Name).Create(ctx, &appsv1.ReplicaSet{ObjectMeta: meta, Spec: appsv1.ReplicaSetSpec{Replicas: &one, Selector: selector, Template: template}}, o)
	case "statefulset":
		_, err = apps.StatefulSets(n.Name).Create(ctx, &appsv1.StatefulSet{ObjectMeta: meta, Spec: appsv1.StatefulSetSpec{Selector: selector, Template: template}}, o)
	case "daemonset":
		_, err = apps.DaemonSets(n.Name).Create(ctx, &appsv1.DaemonSet{ObjectMeta: meta, Spec: appsv1.DaemonSetSpec{Selector: selector, Template: template}}, o)
	case "job":
		_, err = batch.Jobs(n.Name).Create(ctx, &batchv1.Job{ObjectMeta: meta, Spec: batchv1.JobSpec{Template: template}}, o)
	case "cronjob":
		spec := batchv1.CronJobSpec{Schedule: "0 0 1 1 *", JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: template}}}
		_, err = batch.CronJobs(n.Name).Create(ctx, &batchv1.CronJob{ObjectMeta: meta, Spec: spec}, o)
	default:
		err = fmt.Errorf("no kind %s", kind)
	}
	if err != nil {
		t.Fatal(err)
	}
}

var workloadKinds = map[string]schema.GroupVersionResource{
	"deployment":  appsv1.SchemeGroupVersion.WithResource("deployments"),
	"replicaset":  appsv1.SchemeGroupVersion.WithResource("replicasets"),
	"statefulset": appsv1.SchemeGroupVersion.WithResource("statefulsets"),
	"daemonset":   appsv1.SchemeGroupVersion.WithResource("daemonsets"),
	"job":         batchv1.SchemeGroupVersion.WithResource("jobs"),
	"cronjob":     batchv1.SchemeGroupVersion.WithResource("cronjobs"),
}

// stored is a workload as it is stored, and its pod template.
func (n pinning) stored(t *testing.T, kind, name string) (*unstructured.Unstructured, corev1.PodTemplateSpec) {
	t.Helper()
	client, err := dynamic.NewForConfig(n.Config())
	if err != nil {
		t.Fatal(err)
	}
	object, err := client.Resource(workloadKinds[kind]).Namespace(n.Name).Get(context.Background(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	path := []string{"spec", "template"}
	if kind == "cronjob" {
		path = []string{"spec", "jobTemplate", "spec", "template"}
	}
	content, _, err := unstructured.NestedMap(object.Object, path...)
	var template corev1.PodTemplateSpec
	if err = errors.Join(err, apiruntime.DefaultUnstructuredConverter.FromUnstructured(content, &template)); err != nil {
		t.Fatal(err)
	}
	return object, template
}

// annotate changes annotations of a workload's pod template; nil removes one.
func (n pinning) annotate(t *testing.T, kind, name string, annotations map[string]any) {
	t.Helper()
	change := map[string]any{"template": map[string]any{"metadata": map[string]any{"annotations": annotations}}}
	if kind == "cronjob" {
		change = map[string]any{"jobTemplate": map[string]any{"spec": change}}
	}
	patch, err := json.Marshal(map[string]any{"spec": change})
	if err != nil {
		t.Fatal(err)
	}
	n.kubectl(t, "patch", kind, name, "--type=merge", "--patch="+string(patch))
}

// revisions are the names of the ReplicaSets of a Deployment, or of the ControllerRevisions of another workload.
func (n pinning) revisions(t *testing.T, kind, name string) []string {
	t.Helper()
	of := metav1.ListOptions{LabelSelector: "app=" + name}
	var names []string
	if kind == "deployment" {
		list, err := n.Client().AppsV1().ReplicaSets(n.Name).List(t.Context(), of)
		if err != nil {
			t.Fatal(err)
		}
		for _, set := range list.Items {
			names = append(names, set.Name)
		}
		return names
	}
	list, err := n.Client().AppsV1().ControllerRevisions(n.Name).List(t.Context(), of)
	if err != nil {
		t.Fatal(err)
	}
	for _, revision := range list.Items {
		names = append(names, revision.Name)
	}
	return names
}

// appPin is the pin of the container app.
func appPin(image, digest string) map[string]string {
	return map[string]string{"pin.kube-prepull.io/app": image + "@" + digest}
}

// wantPins compares the pins of a workload. None is an empty map.
func (n pinning) wantPins(t *testing.T, kind, name string, want map[string]string) {
	t.Helper()
	_, template := n.stored(t, kind, name)
	if diff := cmp.Diff(want, lab.PinsOf(template.Annotations)); diff != "" {
		t.Errorf("the pins of %s %s (-want +got):\n%s", kind, name, diff)
	}
}

// pods are those labelled app=<name> that are not on their way out.
func (n pinning) pods(t *testing.T, name string) []corev1.Pod {
	t.Helper()
	list, err := n.Client().CoreV1().Pods(n.Name).List(context.Background(), metav1.ListOptions{LabelSelector: "app=" + name})
	if err != nil {
		t.Fatal(err)
	}
	var pods []corev1.Pod
	for _, pod := range list.Items {
		if pod.DeletionTimestamp == nil {
			pods = append(pods, pod)
		}
	}
	return pods
}

// waitPods waits until as many pods run, or have run, each with an image in its first container.
func (n pinning) waitPods(t *testing.T, name string, count int, image string) []corev1.Pod {
	t.Helper()
	var pods []corev1.Pod
	lab.Eventually(t, fmt.Sprintf("%d pods of %s with %s", count, name, image), func() error {
		if pods = n.pods(t, name); len(pods) != count {
			return fmt.Errorf("there are %d", len(pods))
		}
		for _, pod := range pods {
			if got := pod.Spec.Containers[0].Image; got != image {
				return fmt.Errorf("%s has %s", pod.Name, got)
			}
			if !lab.PodRunning(&pod) && !lab.PodSucceeded(&pod) {
				return fmt.Errorf("%s is %s: %v", pod.Name, pod.Status.Phase, pod.Status.ContainerStatuses)
			}
			_, digest, _ := strings.Cut(image, "@")
			if ran := pod.Status.ContainerStatuses[0].ImageID; !strings.HasSuffix(ran, digest) {
				return fmt.Errorf("%s runs %s", pod.Name, ran)
			}
		}
		return nil
	})
	return pods
}

// digested is what a pod says in the place of an image of a repository.
func (n pinning) digested(repository, digest string) string {
	return n.Image(repository) + "@" + digest
}
