package pin

import (
	"github.com/kube-prepull/kube-prepull/e2e/lab"

	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// appliedPod is a pod that somebody keeps in git; its pull policy is a line of its own, or none.
const appliedPod = `apiVersion: v1
kind: Pod
metadata:
  name: %[2]s
  namespace: %[3]s
  labels: {app: %[2]s}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: app
    image: %[1]s
%[4]s`

// TestABarePodKeepsItsDigest when it is applied again, whichever way, and the tag has moved: that is no change, so
// nothing is restarted, and its pull policy is no reason to refuse it.
func TestABarePodKeepsItsDigest(t *testing.T) {
	t.Parallel()
	n := pinning{lab.NewPinning(t, "bare", "latest")}
	digests := n.Versions(t, "app", 3)
	image := n.Image("app:latest")
	n.point(t, "app", "latest", "v1")
	ways := []struct {
		name, policy string
		apply        []string
	}{
		{"client-side", "", []string{"apply"}},
		{"client-side-always", "    imagePullPolicy: Always\n", []string{"apply"}},
		{"server-side", "", []string{"apply", "--server-side"}},
		{"server-side-always", "    imagePullPolicy: Always\n", []string{"apply", "--server-side"}},
	}
	files, before := map[string]string{}, map[string][]string{}
	for _, way := range ways {
		files[way.name] = n.manifest(t, fmt.Sprintf(appliedPod, image, way.name, n.Name, way.policy))
		n.kubectl(t, append(way.apply, "-f", files[way.name])...)
	}
	for _, way := range ways {
		pod := n.waitPods(t, way.name, 1, n.digested("app", digests[0]))[0]
		if diff := cmp.Diff("app="+image, pod.Annotations["kube-prepull.io/rewritten"]); diff != "" {
			t.Errorf("the marker of %s (-want +got):\n%s", way.name, diff)
		}
		if policy := pod.Spec.Containers[0].ImagePullPolicy; policy != corev1.PullIfNotPresent {
			t.Errorf("the policy of %s is %s", way.name, policy)
		}
		before[way.name] = lab.PodIdentities([]corev1.Pod{pod})
	}
	n.point(t, "app", "latest", "v2")
	asked := n.Questions("app")
	if asked == 0 {
		t.Fatal("the registry has counted nothing")
	}
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			for range 3 {
				n.kubectl(t, append(way.apply, "-f", files[way.name])...)
				n.kubectl(t, append(way.apply, "--dry-run=server", "-f", files[way.name])...)
			}
			n.kubectl(t, "label", "pod", way.name, "team=a")
			pod := n.waitPods(t, way.name, 1, n.digested("app", digests[0]))[0]
			if diff := cmp.Diff(before[way.name], lab.PodIdentities([]corev1.Pod{pod})); diff != "" {
				t.Errorf("it changed (-before +after):\n%s", diff)
			}
			if diff := cmp.Diff("app="+image, pod.Annotations["kube-prepull.io/rewritten"]); diff != "" {
				t.Errorf("the marker (-want +got):\n%s", diff)
			}
		})
	}
	if now := n.Questions("app"); now != asked {
		t.Errorf("the registry was asked %d times about what nobody changed", now-asked)
	}
	// Another image is a change, which the pod gets as people know it: the container is started again.
	other := n.manifest(t, fmt.Sprintf(appliedPod, n.Image("app:v3"), "client-side", n.Name, ""))
	n.kubectl(t, "apply", "-f", other)
	pod := n.pods(t, "client-side")[0]
	if got := pod.Spec.Containers[0].Image; got != n.Image("app:v3") && got != n.digested("app", digests[2]) {
		t.Errorf("a pod whose image was changed to app:v3 has %s", got)
	}
	n.waitPods(t, "client-side", 1, pod.Spec.Containers[0].Image)
}

// TestABarePodsImagesAreReplacedInEveryPlace, and once: a copy of a pod as it was read is a pod like any other.
func TestABarePodsImagesAreReplacedInEveryPlace(t *testing.T) {
	t.Parallel()
	n := pinning{lab.NewPinning(t, "copied", "latest")}
	var want []string
	for _, place := range places(t) {
		want = append(want, n.digested(place, n.Versions(t, place, 2)[0]))
		n.point(t, place, "latest", "v1")
	}
	template := n.everyPlace(t, "bare")
	pod := &corev1.Pod{ObjectMeta: template.ObjectMeta, Spec: template.Spec}
	pod.Name, pod.Annotations = "bare", map[string]string{"team": "a"}
	created, err := n.Client().CoreV1().Pods(n.Name).Create(t.Context(), pod, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, imagesOf(&created.Spec)); diff != "" {
		t.Errorf("the images (-want +got):\n%s", diff)
	}
	for _, v := range created.Spec.Volumes {
		if v.Image != nil && v.Image.PullPolicy != corev1.PullIfNotPresent {
			t.Errorf("the policy of the volume is %s", v.Image.PullPolicy)
		}
	}
	if created.Annotations["team"] != "a" || strings.Count(created.Annotations["kube-prepull.io/rewritten"], "=") != len(want) {
		t.Errorf("the annotations are %v", created.Annotations)
	}
	n.waitPods(t, "bare", 1, want[0])

	n.point(t, "app", "latest", "v2")
	again := created.DeepCopy()
	again.ObjectMeta = metav1.ObjectMeta{Name: "again", Labels: created.Labels, Annotations: created.Annotations}
	if diff := cmp.Diff(want, imagesOf(&n.tryPod(t, again).Spec)); diff != "" {
		t.Errorf("the images of a copy (-want +got):\n%s", diff)
	}
	// Only the system writes status: a pod that is rewritten is updated like any other.
	n.kubectl(t, "annotate", "pod", "bare", "note=a")
	n.kubectl(t, "delete", "pod", "bare", "--wait=false")
}
