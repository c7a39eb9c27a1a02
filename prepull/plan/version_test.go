package plan

import (
	"fmt"
	"slices"
	"testing"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
)

func usedBy(image string, starts int, deployments ...string) v1alpha1.PrepullImage {
	o := prepulltest.Learned(image, starts)
	for _, name := range deployments {
		o.Status.Users = append(o.Status.Users, v1alpha1.User{Kind: "Deployment", Namespace: "shop", Name: name})
	}
	o.Status.UserCount = int32(len(deployments))
	return o
}

// run is used by a workload that comes and goes.
func run(image string, starts int, kind, namespace, name string) v1alpha1.PrepullImage {
	o := prepulltest.Learned(image, starts)
	o.Status.Users, o.Status.UserCount = []v1alpha1.User{{Kind: kind, Namespace: namespace, Name: name}}, 1
	return o
}

// A list is full of images with starts, and a Deployment goes to a version that has none.
func TestANewVersionHasTheRankOfTheOneThatItReplaces(t *testing.T) {
	t.Parallel()
	o := testOptions
	o.MaxImagesPerNode = 5
	s := State{Nodes: prepulltest.Nodes(2)}
	for i := range 5 {
		s.Images = append(s.Images, usedBy(fmt.Sprintf("r.test/app-%d:v1", i), 10+i, fmt.Sprint("app-", i)))
	}
	s.settle(t, o, none)
	s.Images = append(s.Images, usedBy("r.test/app-4:v2", 0, "app-4"))
	s.settle(t, o, none)
	got := s.listOf("linux-amd64")
	if !slices.Contains(got, "r.test/app-4:v2") || slices.Contains(got, "r.test/app-0:v1") {
		t.Errorf("during the rollout %v are listed", got)
	}
	s.Images[4].Status.UserCount = 0
	s.settle(t, o, none)
	got = s.listOf("linux-amd64")
	slices.Sort(got)
	if want := "[r.test/app-0:v1 r.test/app-1:v1 r.test/app-2:v1 r.test/app-3:v1 r.test/app-4:v2]"; fmt.Sprint(got) != want {
		t.Errorf("after it %v are listed, want %s", got, want)
	}
}

func TestWhoInheritsStarts(t *testing.T) {
	t.Parallel()
	kept := usedBy("r.test/app:v0", 7, "app")
	kept.Status.UserCount = 0
	many := usedBy("r.test/app:v1", 9, "a", "b", "c", "d", "e")
	many.Status.UserCount = 6
	for name, tc := range map[string]struct {
		images []v1alpha1.PrepullImage
		want   string
	}{
		"a new version":                  {[]v1alpha1.PrepullImage{usedBy("r.test/app:v1", 9, "app"), usedBy("r.test/app:v2", 1, "app")}, "r.test/app:v1=9 r.test/app:v2=9"},
		"a pinned one":                   {[]v1alpha1.PrepullImage{usedBy("r.test/app:v1", 9, "app"), usedBy("r.test/app@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", 1, "app")}, "r.test/app:v1=9 r.test/app@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08=9"},
		"of one that is kept":            {[]v1alpha1.PrepullImage{kept, usedBy("r.test/app:v1", 1, "app")}, "r.test/app:v0=7 r.test/app:v1=7"},
		"one that is kept inherits none": {[]v1alpha1.PrepullImage{kept, usedBy("r.test/app:v1", 9, "app")}, "r.test/app:v0=7 r.test/app:v1=9"},
		"another workload does not":      {[]v1alpha1.PrepullImage{usedBy("r.test/app:v1", 9, "app"), usedBy("r.test/app:v2", 1, "other")}, "r.test/app:v1=9 r.test/app:v2=1"},
		"a move to another registry":     {[]v1alpha1.PrepullImage{usedBy("r.test/shop/app:v1", 9, "app"), usedBy("mirror.test/copies/app:v2", 1, "app")}, "mirror.test/copies/app:v2=9 r.test/shop/app:v1=9"},
		"another workload that moves":    {[]v1alpha1.PrepullImage{usedBy("r.test/shop/app:v1", 9, "app"), usedBy("mirror.test/copies/app:v2", 1, "other")}, "mirror.test/copies/app:v2=1 r.test/shop/app:v1=9"},
		"one of many users, not named":   {[]v1alpha1.PrepullImage{many, usedBy("r.test/app:v2", 1, "f"), usedBy("r.test/other:v2", 1, "f")}, "r.test/app:v1=9 r.test/app:v2=9 r.test/other:v2=1"},
		"another container does not":     {[]v1alpha1.PrepullImage{usedBy("r.test/app:v1", 9, "app"), usedBy("r.test/proxy:v1", 1, "app")}, "r.test/app:v1=9 r.test/proxy:v1=1"},
		"a registry with a port":         {[]v1alpha1.PrepullImage{usedBy("r.test:5000/app", 9, "app"), usedBy("r.test:5000/app:v2", 1, "app")}, "r.test:5000/app:v2=9 r.test:5000/app=9"},
		"one of several users is enough": {[]v1alpha1.PrepullImage{usedBy("r.test/app:v1", 9, "app", "b"), usedBy("r.test/app:v2", 1, "c", "b")}, "r.test/app:v1=9 r.test/app:v2=9"},
		"a job of the same kind":         {[]v1alpha1.PrepullImage{run("r.test/ci:v1", 9, "Job", "shop", "ci-28391"), run("r.test/ci:v2", 1, "Job", "shop", "ci-28392")}, "r.test/ci:v1=9 r.test/ci:v2=9"},
		"a run of a custom controller":   {[]v1alpha1.PrepullImage{run("r.test/ci:v1", 9, "Workflow", "shop", "ci-x7f"), run("r.test/ci:v2", 1, "Workflow", "shop", "ci-9kq")}, "r.test/ci:v1=9 r.test/ci:v2=9"},
		"a job of another namespace":     {[]v1alpha1.PrepullImage{run("r.test/ci:v1", 9, "Job", "shop", "ci-1"), run("r.test/ci:v2", 1, "Job", "office", "ci-2")}, "r.test/ci:v1=9 r.test/ci:v2=1"},
		"a Deployment beside a job":      {[]v1alpha1.PrepullImage{run("r.test/ci:v1", 9, "Job", "shop", "ci-1"), usedBy("r.test/ci:v2", 1, "ci-1")}, "r.test/ci:v1=9 r.test/ci:v2=1"},
		"green after blue":               {[]v1alpha1.PrepullImage{usedBy("r.test/app:v1", 9, "app-blue"), usedBy("r.test/app:v2", 1, "app-green")}, "r.test/app:v1=9 r.test/app:v2=9"},
		"a Deployment for each version":  {[]v1alpha1.PrepullImage{usedBy("r.test/app:v1", 9, "app-v1"), usedBy("r.test/app:v2", 1, "app-v2")}, "r.test/app:v1=9 r.test/app:v2=9"},
		"names that differ in a word":    {[]v1alpha1.PrepullImage{usedBy("r.test/app:v1", 9, "app-web"), usedBy("r.test/app:v2", 1, "app-vip")}, "r.test/app:v1=9 r.test/app:v2=1"},
	} {
		found, _ := candidates(tc.images, prepulltest.Noon)
		var got []string
		for _, c := range found {
			got = append(got, fmt.Sprintf("%s=%v", c.image, c.starts))
		}
		slices.Sort(got)
		if fmt.Sprint(got) != "["+tc.want+"]" {
			t.Errorf("%s: %v, want %s", name, got, tc.want)
		}
	}
}
