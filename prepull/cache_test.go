package prepull

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/plan"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
	"github.com/kube-prepull/kube-prepull/prepull/warmth"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

func TestTheCacheKeepsWhatAPlanNeeds(t *testing.T) {
	t.Parallel()
	s := plan.State{Nodes: prepulltest.Nodes(2), Images: []v1alpha1.PrepullImage{prepulltest.Learned("a:1", 1), prepulltest.Learned("b:1", 1)}}
	s.Nodes[0].Status.Images = []corev1.ContainerImage{{Names: []string{"docker.io/library/a:1"}, SizeBytes: 5}}
	a, b := workload.ObjectName("a:1"), workload.ObjectName("b:1")
	written := plan.Make(s, planOptions, prepulltest.Noon)
	s.DaemonSets = written.Roll
	s.Pods = []*corev1.Pod{
		prepulltest.Pod("node-000", prepulltest.Noon, prepulltest.Done("install", 0, 1), prepulltest.Done(a, 2, 3), prepulltest.Done(b, 4, 5)),
		prepulltest.Pod("node-001", prepulltest.Noon, prepulltest.Done("install", 0, 1), prepulltest.Done(a, 2, 3), prepulltest.Waits(b, "ErrImagePull", "b:1: not found")),
	}
	want := plan.Make(s, planOptions, prepulltest.Noon)
	var known pool
	for i := range s.Nodes {
		known.stripNode(&s.Nodes[i])
	}
	for i := range s.Pods {
		known.stripPod(s.Pods[i])
	}
	for i := range s.DaemonSets {
		stripDaemonSet(s.DaemonSets[i])
	}
	got := plan.Make(s, planOptions, prepulltest.Noon)
	if diff := cmp.Diff(want.Roll, got.Roll); diff != "" {
		t.Errorf("DaemonSets (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want.Statuses, got.Statuses, cmp.AllowUnexported(plan.StatusChange{}, plan.Notice{})); diff != "" {
		t.Errorf("statuses (-want +got):\n%s", diff)
	}
}

func TestTheCacheDropsTheRest(t *testing.T) {
	t.Parallel()
	pod := prepulltest.Pod("a", prepulltest.Noon, prepulltest.Done("x", 1, 2))
	pod.Annotations = map[string]string{"a": "b"}
	pod.Spec.InitContainers = []corev1.Container{{Name: "x"}}
	pod.Status.PodIP = "10.0.0.1"
	pod.Status.InitContainerStatuses[0].ImageID = "sha256:a"
	out, err := strip(new(pool).stripPod)(pod)
	if err != nil {
		t.Fatal(err)
	}
	want := prepulltest.Pod("a", prepulltest.Noon, prepulltest.Done("x", 1, 2))
	want.Annotations = map[string]string{warmth.AnnotationTimes: warmth.PackTimes(want)}
	want.Status.InitContainerStatuses[0].State.Terminated = &corev1.ContainerStateTerminated{Reason: "Completed"}
	if diff := cmp.Diff(want, out); diff != "" {
		t.Errorf("pod (-want +got):\n%s", diff)
	}
	if out, err := strip(new(pool).stripPod)("a tombstone"); out != "a tombstone" || err != nil {
		t.Errorf("%v, %v", out, err)
	}
}

func TestTheCacheKeepsOfAnEventWhatAFailureNeeds(t *testing.T) {
	t.Parallel()
	want := corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Name: "e"},
		InvolvedObject: corev1.ObjectReference{UID: "uid", FieldPath: "spec.initContainers{a}"},
		Message:        `Failed to pull image "a:1": not found`,
		Count:          2,
		LastTimestamp:  metav1.NewTime(prepulltest.Noon),
	}
	full := want.DeepCopy()
	full.Annotations = map[string]string{"a": "b"}
	full.InvolvedObject.Name, full.Reason, full.Source.Host = "pod", "Failed", "node-000"
	new(pool).stripEvent(full)
	if diff := cmp.Diff(&want, full); diff != "" {
		t.Errorf("event (-want +got):\n%s", diff)
	}
}

func TestOnlyWhatTheCacheKeepsIsAChange(t *testing.T) {
	t.Parallel()
	node := func(edit func(*corev1.Node)) client.Object {
		n := prepulltest.Node("a", "amd64")
		n.ResourceVersion = "1"
		edit(&n)
		new(pool).stripNode(&n)
		return &n
	}
	for name, tc := range map[string]struct {
		edit func(*corev1.Node)
		want bool
	}{
		"a heartbeat is none": {func(n *corev1.Node) {
			n.ResourceVersion = "2"
			n.Status.Conditions[0].LastHeartbeatTime = metav1.NewTime(prepulltest.Noon)
		}, false},
		"an annotation is none": {func(n *corev1.Node) { n.Annotations = map[string]string{"a": "b"} }, false},
		"a label is one":        {func(n *corev1.Node) { n.Labels["pool"] = "x" }, true},
		"a cordon is one":       {func(n *corev1.Node) { n.Spec.Unschedulable = true }, true},
		"a node that is lost is one": {func(n *corev1.Node) {
			n.Status.Conditions[0].Status = corev1.ConditionUnknown
		}, true},
		"a resource is one": {func(n *corev1.Node) {
			n.Status.Capacity = corev1.ResourceList{"example.com/gpu": resource.MustParse("1")}
		}, true},
		"more room is none": {func(n *corev1.Node) {
			n.Status.Capacity = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Gi"), "hugepages-2Mi": resource.MustParse("1Gi")}
		}, false},
		"an image is one": {func(n *corev1.Node) { n.Status.Images = []corev1.ContainerImage{{SizeBytes: 1}} }, true},
	} {
		was, is := node(func(*corev1.Node) {}), node(tc.edit)
		if got := changed[corev1.Node]().Update(event.UpdateEvent{ObjectOld: was, ObjectNew: is}); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
		if was.GetResourceVersion() != "1" {
			t.Fatal("an object of the cache was changed")
		}
	}
}

// BenchmarkCache measures what the cache keeps of a node and its prepull pod, with 50 images each. Objects are decoded
// one by one, as they come from the API server.
func BenchmarkCache(b *testing.B) {
	const nodes, images = 100, 50
	all, pods := prepulltest.Nodes(nodes), make([]*corev1.Pod, 0, nodes)
	for i := range all {
		var statuses []corev1.ContainerStatus
		var list []corev1.Container
		for j := range images {
			image := fmt.Sprintf("registry.example.com/team-%d/app-%d:v1", j%7, j)
			digest := fmt.Sprintf("sha256:%064d", j)
			all[i].Status.Images = append(all[i].Status.Images, corev1.ContainerImage{Names: []string{image + "@" + digest, image}, SizeBytes: 1 << 26})
			c := prepulltest.Done(workload.ObjectName(image), 2*j, 2*j+1)
			c.Image, c.ImageID, c.ContainerID = image, digest, fmt.Sprintf("containerd://%064d", i*nodes+j)
			statuses, list = append(statuses, c), append(list, corev1.Container{Name: c.Name, Image: image})
		}
		pod := prepulltest.Pod(all[i].Name, prepulltest.Noon, statuses...)
		pod.Spec.InitContainers = list
		pods = append(pods, pod)
	}
	var before, after runtime.MemStats
	for b.Loop() {
		runtime.GC()
		runtime.ReadMemStats(&before)
		var known pool
		kept := make([]any, 0, 2*nodes)
		for i := range nodes {
			var n corev1.Node
			decode(b, &all[i], &n)
			known.stripNode(&n)
			var pod corev1.Pod
			decode(b, pods[i], &pod)
			known.stripPod(&pod)
			kept = append(kept, &n, &pod)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		runtime.KeepAlive(kept)
	}
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/nodes, "kept-B/node")
}

// decode copies an object the way it comes over the wire.
func decode(b *testing.B, from, into interface {
	Marshal() ([]byte, error)
	Unmarshal([]byte) error
}) {
	b.Helper()
	content, err := from.Marshal()
	if err == nil {
		err = into.Unmarshal(content)
	}
	if err != nil {
		b.Fatal(err)
	}
}
