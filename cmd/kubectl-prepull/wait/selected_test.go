package wait

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// nodesOf are nodes of two pools. Two of the pool web have the image, one of them is cordoned, one is tainted and one is new.
func nodesOf() []client.Object {
	var all []client.Object
	for _, name := range []string{"db", "web-1", "web-cordoned", "web-new", "web-tainted"} {
		n := prepulltest.Node(name, "amd64")
		n.Labels["pool"], _, _ = strings.Cut(name, "-")
		switch name {
		case "web-1", "web-cordoned":
			canonical, _ := workload.CanonicalImage("shop/app:v1")
			n.Status.Images = []corev1.ContainerImage{{Names: []string{canonical}, SizeBytes: 5}}
			n.Spec.Unschedulable = name == "web-cordoned"
		case "web-tainted":
			n.Spec.Taints = []corev1.Taint{{Key: "gpu", Effect: corev1.TaintEffectNoSchedule}}
		}
		all = append(all, &n)
	}
	return all
}

func TestTheNodesThatSomebodyChose(t *testing.T) {
	t.Parallel()
	const image = "shop/app:v1"
	for name, test := range map[string]struct {
		selector string
		want     selected
		err      string
	}{
		"those of a pool":             {"pool=web", selected{counts: counts{desired: 2, ready: 1}}, ""},
		"one that has it":             {"kubernetes.io/hostname=web-1", selected{counts: counts{desired: 1, ready: 1}}, ""},
		"one on which nothing starts": {"kubernetes.io/hostname=web-tainted", selected{unfit: "its pods do not run on web-tainted: the taint gpu:NoSchedule of the node is not tolerated"}, ""},
		"one that is cordoned":        {"kubernetes.io/hostname=web-cordoned", selected{}, ""},
		"none":                        {"pool=gpu", selected{}, "no node matches --node-selector pool=gpu"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := clusterOf(t, nodesOf()...)
			f, err := readFleet(t.Context(), c, "kube-prepull", []workload.Image{{Name: image}})
			if err != nil {
				t.Fatal(err)
			}
			selector, err := labels.Parse(test.selector)
			if err != nil {
				t.Fatal(err)
			}
			chosen, err := f.choose(selector)
			if test.err != "" {
				if err == nil || err.Error() != test.err {
					t.Errorf("the error is %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, *f.selectedOf(image, []v1alpha1.PrepullImage{*object(0, 0)}, chosen), cmp.AllowUnexported(selected{}, counts{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestLabelsOfASelector(t *testing.T) {
	t.Parallel()
	for text, test := range map[string]struct {
		asked map[string]string
		whole bool
	}{
		"":                      {nil, true},
		"pool=web":              {map[string]string{"pool": "web"}, true},
		"pool in (web)":         {map[string]string{"pool": "web"}, true},
		"pool=web,zone==a":      {map[string]string{"pool": "web", "zone": "a"}, true},
		"pool in (web,db)":      {nil, false},
		"pool=web,zone!=a":      {map[string]string{"pool": "web"}, false},
		"pool=web,!spot":        {map[string]string{"pool": "web"}, false},
		"spot":                  {nil, false},
		"pool notin (web),a=b ": {map[string]string{"a": "b"}, false},
	} {
		selector, err := labels.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		asked, whole := labelsOf(selector)
		if diff := cmp.Diff(test.asked, asked); diff != "" || whole != test.whole {
			t.Errorf("%q: whole is %t, (-want +got):\n%s", text, whole, diff)
		}
	}
}
