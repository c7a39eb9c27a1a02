package prepull

import (
	"fmt"
	"reflect"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
)

func TestEqualStringsAreKeptOnce(t *testing.T) {
	t.Parallel()
	var known pool
	text := func(i int) string { return fmt.Sprint("image-", i) }
	first := known.one(text(1))
	if again := known.one(text(1)); again != first || unsafe.StringData(again) != unsafe.StringData(first) {
		t.Error("a string is kept twice")
	}
	for i := range 2 * maxPooled {
		if got := known.one(text(i)); got != text(i) {
			t.Fatalf("%s became %s", text(i), got)
		}
	}
	if len(known.strings) > maxPooled {
		t.Errorf("%d strings are known", len(known.strings))
	}
}

// TestPodsThatAreEquallyFarShare what is the same on thousands of nodes, however long each of them took for it.
func TestPodsThatAreEquallyFarShare(t *testing.T) {
	t.Parallel()
	pod := func(node, list string, seconds int, last corev1.ContainerStatus) *corev1.Pod {
		pod := prepulltest.Pod(node, prepulltest.Noon, prepulltest.Done("a", 0, seconds), prepulltest.Done("b", seconds, 2*seconds), last)
		pod.Labels = map[string]string{v1alpha1.LabelList: list, "pod-template-generation": list}
		return pod
	}
	waits := prepulltest.Waits("c", "PodInitializing", "")
	var known pool
	first := pod("first", "list", 1, waits)
	known.stripPod(first)
	for name, tc := range map[string]struct {
		pod                   *corev1.Pod
		sameLabels, sameState bool
	}{
		"a slower pod of the list": {pod("second", "list", 7, waits), true, true},
		"a pod of another list":    {pod("second", "other", 1, waits), false, true},
		"a pod that is further":    {pod("second", "list", 1, prepulltest.Done("c", 2, 3)), true, false},
		"a pod whose pull fails":   {pod("second", "list", 1, prepulltest.Waits("c", "ErrImagePull", "c: not found")), true, false},
		"one more pod of the list": {pod("third", "list", 9, waits), true, true},
	} {
		want := tc.pod.DeepCopy()
		new(pool).stripPod(want)
		known.stripPod(tc.pod)
		if diff := cmp.Diff(want, tc.pod); diff != "" {
			t.Errorf("%s is not what it is alone (-want +got):\n%s", name, diff)
		}
		if same := reflect.ValueOf(first.Labels).Pointer() == reflect.ValueOf(tc.pod.Labels).Pointer(); same != tc.sameLabels {
			t.Errorf("%s: it shares its labels: %v", name, same)
		}
		if same := &first.Status.InitContainerStatuses[0] == &tc.pod.Status.InitContainerStatuses[0]; same != tc.sameState {
			t.Errorf("%s: it shares its statuses: %v", name, same)
		}
	}
}

func TestNodesShareWhatTheyList(t *testing.T) {
	t.Parallel()
	node := func(name string, names ...string) corev1.Node {
		n := prepulltest.Node(name, "amd64")
		n.Status.Images = []corev1.ContainerImage{{Names: names, SizeBytes: 5}}
		n.Status.Allocatable = corev1.ResourceList{corev1.ResourceEphemeralStorage: resource.MustParse("100Gi")}
		return n
	}
	var known pool
	first, same, other := node("a", "app@sha256:1", "app:v1"), node("b", "app@sha256:1", "app:v1"), node("c", "app@sha256:1", "app:v2")
	larger, more := node("d", "app@sha256:1", "app:v1"), node("e", "app@sha256:1", "app:v1")
	larger.Status.Images[0].SizeBytes++
	more.Status.Images = append(more.Status.Images, corev1.ContainerImage{Names: []string{"b:1"}, SizeBytes: 1})
	for _, n := range []*corev1.Node{&first, &same, &other, &larger, &more, &same} {
		want := n.DeepCopy()
		new(pool).stripNode(want)
		known.stripNode(n)
		if diff := cmp.Diff(want, n); diff != "" {
			t.Errorf("%s is not what it is alone (-want +got):\n%s", n.Name, diff)
		}
	}
	if &first.Status.Images[0].Names[0] != &same.Status.Images[0].Names[0] {
		t.Error("the names of an image are kept twice")
	}
	if &first.Status.Images[0] != &same.Status.Images[0] {
		t.Error("equal lists are kept twice")
	}
	if reflect.ValueOf(first.Status.Allocatable).Pointer() != reflect.ValueOf(same.Status.Allocatable).Pointer() {
		t.Error("equal resources are kept twice")
	}
}
