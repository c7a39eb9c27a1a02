package bootstrap

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

var (
	web      = v1alpha1.Placement{NodeSelector: map[string]string{"pool": "web"}}
	affinity = v1alpha1.Placement{NodeAffinity: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
		MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "gpu", Operator: corev1.NodeSelectorOpExists}},
	}}}}
)

func decode[T any](t *testing.T, text string) []T {
	t.Helper()
	var objects []T
	for _, document := range strings.Split(text, "---\n") {
		var o T
		if err := yaml.UnmarshalStrict([]byte(document), &o); err != nil {
			t.Fatal(err)
		}
		objects = append(objects, o)
	}
	return objects
}

func TestADaemonSetForEachPlacement(t *testing.T) {
	t.Parallel()
	text, notes, err := daemonSets([]workload.Image{
		{Name: "a:1", Placements: []v1alpha1.Placement{web, {}}, PullSecrets: []v1alpha1.SecretReference{{Namespace: "x", Name: "s"}}},
		{Name: "b:1"},
		{Name: "c:1", Placements: []v1alpha1.Placement{web}},
	}, &Output{noopImage: "noop:1", Namespace: "here"})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]string{}
	for _, ds := range decode[appsv1.DaemonSet](t, text) {
		key := ds.Namespace + "/" + ds.Name + " " + ds.Spec.Template.Spec.NodeSelector["pool"]
		for _, c := range ds.Spec.Template.Spec.InitContainers[1:] {
			got[key] = append(got[key], c.Image)
		}
		for _, s := range ds.Spec.Template.Spec.ImagePullSecrets {
			got[key] = append(got[key], s.Name)
		}
	}
	want := map[string][]string{"here/prepull ": {"a:1", "b:1", "s"}, "here/prepull-" + hash(web) + " web": {"a:1", "c:1", "s"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if want := []string{"the DaemonSets pull with these Secrets, which must be in their namespace: s"}; !cmp.Equal(want, notes) {
		t.Errorf("the notes are %q", notes)
	}
}

func TestAPrepullImageForEachPlacement(t *testing.T) {
	t.Parallel()
	text, notes, err := prepullImages([]workload.Image{
		{Name: "a:1", Placements: []v1alpha1.Placement{web, affinity, {}}, PullSecrets: []v1alpha1.SecretReference{{Namespace: "x", Name: "s"}, {Name: "t"}}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	objects := decode[v1alpha1.PrepullImage](t, text)
	secrets := []v1alpha1.SecretReference{{Namespace: "x", Name: "s"}}
	if len(objects) != 2 {
		t.Fatalf("there are %d objects:\n%s", len(objects), text)
	}
	if o := objects[0]; o.Name != workload.ObjectName("a:1") || !cmp.Equal(o.Spec, v1alpha1.PrepullImageSpec{Image: "a:1", NodeSelector: map[string]v1alpha1.LabelValue{"pool": "web"}, ImagePullSecrets: secrets}) {
		t.Errorf("the first object is %+v", o)
	}
	if o := objects[1]; o.Name != workload.ObjectName("a:1")+"-"+hash(v1alpha1.Placement{}) || !cmp.Equal(o.Spec, v1alpha1.PrepullImageSpec{Image: "a:1", ImagePullSecrets: secrets}) {
		t.Errorf("the second object is %+v", o)
	}
	want := []string{
		"a:1: the Secret t is left out, since its namespace is not known: say it with -n",
		"a:1: a PrepullImage has no node affinity, so more nodes may get it than need it",
	}
	if diff := cmp.Diff(want, notes); diff != "" {
		t.Errorf("the notes, -want +got:\n%s", diff)
	}
}

// What only the planner of a cluster can do goes to more nodes, not to fewer, and a person is told.
func TestPlacementsThatNoObjectCanSay(t *testing.T) {
	t.Parallel()
	image := []workload.Image{{Name: "a:1", Placements: []v1alpha1.Placement{
		{NodeSelector: web.NodeSelector, Resources: []string{"example.com/gpu", "example.com/nic"}},
		{NodeSelector: web.NodeSelector, RuntimeClassName: "kata"},
		web,
	}}}
	want := []string{
		"a:1: no object can ask for nodes that offer example.com/gpu, example.com/nic, so more nodes may get it than need it",
		"a:1: what RuntimeClass kata asks of nodes is not known here, so nodes with any taints get it, and more than need it",
	}
	for _, format := range []render{daemonSets, prepullImages} {
		text, notes, err := format(image, &Output{noopImage: "noop:1"})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, notes); diff != "" {
			t.Errorf("the notes, -want +got:\n%s", diff)
		}
		if objects, tolerating, images := strings.Count(text, "kind:"), strings.Count(text, "- operator: Exists"), strings.Count(text, "a:1"); objects != 2 || tolerating != 1 || images != 2 {
			t.Errorf("%d objects, %d of them tolerate everything, %d have the image:\n%s", objects, tolerating, images, text)
		}
	}
}
