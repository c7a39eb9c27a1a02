package prepull

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

func TestTheCacheKeepsWhatAPlanNeeds(t *testing.T) {
	t.Parallel()
	s := state{nodes: testNodes(2), images: []v1alpha1.PrepullImage{learnedObject("a:1", 1), learnedObject("b:1", 1)}}
	s.nodes[0].Status.Images = []corev1.ContainerImage{{Names: []string{"docker.io/library/a:1"}, SizeBytes: 5}}
	s.carryOut(makePlan(s, testOptions, noon))
	s.runPods(noon, func(node, image string) string {
		if node == "node-001" && image == "b:1" {
			return "b:1: not found"
		}
		return ""
	})
	want := makePlan(s, testOptions, noon)
	for i := range s.nodes {
		stripNode(&s.nodes[i])
	}
	for i := range s.pods {
		stripPod(s.pods[i])
	}
	for i := range s.daemonSets {
		stripDaemonSet(s.daemonSets[i])
	}
	got := makePlan(s, testOptions, noon)
	if diff := cmp.Diff(want.write, got.write); diff != "" {
		t.Errorf("DaemonSets (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want.statuses, got.statuses, cmp.AllowUnexported(statusChange{})); diff != "" {
		t.Errorf("statuses (-want +got):\n%s", diff)
	}
}

func TestTheCacheDropsTheRest(t *testing.T) {
	t.Parallel()
	pod := testPod("a", noon, done("x", 1, 2))
	pod.Annotations = map[string]string{"a": "b"}
	pod.Spec.InitContainers = []corev1.Container{{Name: "x"}}
	pod.Status.PodIP = "10.0.0.1"
	pod.Status.InitContainerStatuses[0].ImageID = "sha256:a"
	out, err := strip(stripPod)(pod)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(testPod("a", noon, done("x", 1, 2)), out); diff != "" {
		t.Errorf("pod (-want +got):\n%s", diff)
	}
	if out, err := strip(stripPod)("a tombstone"); out != "a tombstone" || err != nil {
		t.Errorf("%v, %v", out, err)
	}
}

func TestOnlyWhatTheCacheKeepsIsAChange(t *testing.T) {
	t.Parallel()
	node := func(edit func(*corev1.Node)) client.Object {
		n := testNode("a", "amd64")
		n.ResourceVersion = "1"
		edit(&n)
		stripNode(&n)
		return &n
	}
	for name, tc := range map[string]struct {
		edit func(*corev1.Node)
		want bool
	}{
		"a heartbeat is none": {func(n *corev1.Node) {
			n.ResourceVersion = "2"
			n.Status.Conditions[0].LastHeartbeatTime = metav1.NewTime(noon)
		}, false},
		"an annotation is none": {func(n *corev1.Node) { n.Annotations = map[string]string{"a": "b"} }, false},
		"a label is one":        {func(n *corev1.Node) { n.Labels["pool"] = "x" }, true},
		"a cordon is one":       {func(n *corev1.Node) { n.Spec.Unschedulable = true }, true},
		"a node that is lost is one": {func(n *corev1.Node) {
			n.Status.Conditions[0].Status = corev1.ConditionUnknown
		}, true},
		"an image is one": {func(n *corev1.Node) { n.Status.Images = []corev1.ContainerImage{{SizeBytes: 1}} }, true},
	} {
		was, is := node(func(*corev1.Node) {}), node(tc.edit)
		if got := changed().Update(event.UpdateEvent{ObjectOld: was, ObjectNew: is}); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
		if was.GetResourceVersion() != "1" {
			t.Fatal("an object of the cache was changed")
		}
	}
}
