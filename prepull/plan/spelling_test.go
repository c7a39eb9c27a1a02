package plan

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

func TestSpellingsOfAnImageNeedOnePlace(t *testing.T) {
	t.Parallel()
	o := testOptions
	o.MaxImagesPerNode = 2
	s := State{Nodes: prepulltest.Nodes(2), Images: []v1alpha1.PrepullImage{prepulltest.Learned("nginx:latest", 1), prepulltest.Learned("b:1", 2)}}
	s.settle(t, o, none)
	if got := fmt.Sprint(s.listOf("linux-amd64")); got != "[b:1 nginx:latest]" {
		t.Fatalf("listed are %s", got)
	}

	// Which spelling is in the list does not matter, so another one is no reason to write it.
	s.Images = append(s.Images, prepulltest.Learned("nginx", 5))
	if rolls := s.settle(t, o, none); rolls > 0 {
		t.Errorf("another spelling takes %d rolls", rolls)
	}
	for _, image := range []string{"nginx", "nginx:latest", "b:1"} {
		if got := s.status(workload.ObjectName(image)); got.State != StateReady || got.Ready != "2/2" {
			t.Errorf("%s is %s on %s", image, got.State, got.Ready)
		}
	}
	// Nor does it matter that nobody uses the one in the list any more.
	gone := s
	gone.Images = s.Images[1:]
	if rolls := gone.settle(t, o, none); rolls > 0 {
		t.Errorf("when the one in the list goes, it takes %d rolls", rolls)
	}
	if got := gone.status(workload.ObjectName("nginx")); got.State != StateReady || got.Ready != "2/2" {
		t.Errorf("then nginx is %s on %s", got.State, got.Ready)
	}
	s.runPods(prepulltest.Noon, func(_, image string) string {
		if image == "nginx:latest" {
			return "not found"
		}
		return ""
	})
	s.carryOut(Make(s, o, prepulltest.Noon.Add(time.Minute)))
	for _, image := range []string{"nginx", "nginx:latest"} {
		if got := s.status(workload.ObjectName(image)); got.State != "PullFailed: not found" || len(got.Retries) != 1 {
			t.Errorf("when it is gone, %s is %s, with %d retries", image, got.State, len(got.Retries))
		}
	}
}

func TestWhatIsMergedOfSpellings(t *testing.T) {
	t.Parallel()
	first, second := prepulltest.Learned("nginx", 2), prepulltest.Learned("nginx:latest", 3)
	first.Status.AlwaysPull, first.Status.Digest, second.Status.Digest = true, "sha256:1", "sha256:stale"
	first.Status.Placements = []v1alpha1.Placement{{NodeSelector: map[string]string{"pool": "a"}}}
	second.Status.Placements = []v1alpha1.Placement{{NodeSelector: map[string]string{"pool": "b"}}}
	first.Status.Users, second.Status.Users = []v1alpha1.User{{Namespace: "x"}}, []v1alpha1.User{{Namespace: "a"}}
	first.Status.Priority, second.Status.Autoscaled = 7, true
	found, _ := candidates([]v1alpha1.PrepullImage{first, second, prepulltest.Learned("docker.io/nginx", 1)}, prepulltest.Noon)
	merged, of := mergeSpellings(found, map[string]Listed{"nginx:latest": {Name: second.Name, Image: "nginx:latest"}}, Pulls{})
	if len(merged) != 2 || len(of) != 2 {
		t.Fatalf("%d are left, and %d stand for others", len(merged), len(of))
	}
	var one *Candidate
	for _, c := range of {
		one = c
	}
	if one.image != "nginx:latest" || one.starts != 5 || !one.alwaysPull || one.digest != "sha256:1" || len(one.placements) != 2 ||
		fmt.Sprint(one.namespaces) != "[a x]" || one.priority != 7 || !one.autoscaled || len(one.objects) != 2 {
		t.Errorf("merged: %+v", one)
	}
}

// A node lists five names of an image, and ours may not be among them.
func TestTheSizeOfAnImageWithManyNames(t *testing.T) {
	t.Parallel()
	const digest = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
	tagged, pinned := prepulltest.Learned("app:1", 1), prepulltest.Learned("r6.test/app@"+digest, 1)
	tagged.Status.Digest = digest
	s := State{Nodes: prepulltest.Nodes(1), Images: []v1alpha1.PrepullImage{tagged, pinned}}
	var names []string
	for i := range 5 {
		names = append(names, fmt.Sprintf("r%d.test/app@%s", i, digest))
	}
	s.Nodes[0].Status.Images = []corev1.ContainerImage{{Names: names, SizeBytes: 123}}
	s.carryOut(Make(s, testOptions, prepulltest.Noon))
	for _, o := range s.Images {
		if got := s.status(o.Name); got.SizeBytes != 123 || got.Ready != "0/1" {
			t.Errorf("%s has %d bytes, and is on %s", o.Spec.Image, got.SizeBytes, got.Ready)
		}
	}
}
