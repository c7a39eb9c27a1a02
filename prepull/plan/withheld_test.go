package plan

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// TestAPullSecretStaysWithTheNodesOfItsUsers has three pools, and an image with a pull secret for the first one.
func TestAPullSecretStaysWithTheNodesOfItsUsers(t *testing.T) {
	t.Parallel()
	login := secretNamed("shop", "login")
	private := privateObject("a:1", 9, login)
	private.Status.Placements = []v1alpha1.Placement{{NodeSelector: map[string]string{"pool": "0"}}}
	other := privateObject("b:1", 1, login)
	for name, tc := range map[string]struct {
		max              int
		others           []v1alpha1.PrepullImage
		keys             map[Key]string
		reason, words    string
		listed, withheld bool
	}{
		"the pool is a class":                    {3, nil, nil, "WithinBudget", "has a place", true, false},
		"it is not":                              {2, nil, nil, "SecretWithheld", "The Secret shop/login would also go to nodes where none of those who use it may run: values of the node label pool are not told apart", false, true},
		"another user may run on all nodes":      {2, []v1alpha1.PrepullImage{other}, nil, "PlacedWidely", "The image also goes to nodes", true, false},
		"another image that needs none":          {2, []v1alpha1.PrepullImage{prepulltest.Learned("c:1", 1)}, nil, "SecretWithheld", "", false, true},
		"the Secret has no login for it, anyway": {2, nil, map[Key]string{hubKey(login, "a"): "holds no login for docker.io"}, "PlacedWidely", "", true, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := State{Nodes: prepulltest.Nodes(3), Images: append([]v1alpha1.PrepullImage{*private.DeepCopy()}, tc.others...), Pulls: copiedAs("copy", prepulltest.Noon)}
			s.Pulls.Keys[hubKey(login, "b")] = ""
			if tc.keys != nil {
				s.Pulls.Keys = tc.keys
			}
			for i := range s.Nodes {
				s.Nodes[i].Labels["pool"] = fmt.Sprint(i)
			}
			o := testOptions
			o.MaxNodeClasses = tc.max
			p := Make(s, o, prepulltest.Noon)
			s.carryOut(p)
			selected := meta.FindStatusCondition(s.status(workload.ObjectName("a:1")).Conditions, v1alpha1.ConditionSelected)
			if selected.Reason != tc.reason || !strings.Contains(selected.Message, tc.words) {
				t.Errorf("%s: %s", selected.Reason, selected.Message)
			}
			for _, ds := range s.DaemonSets {
				var images []string
				for _, l := range ListOf(ds) {
					images = append(images, l.Image)
				}
				if tc.withheld && len(ds.Spec.Template.Spec.ImagePullSecrets) > 0 || strings.Contains(strings.Join(images, " "), "a:1") != tc.listed {
					t.Errorf("%s has %v, with %v", ds.Name, images, ds.Spec.Template.Spec.ImagePullSecrets)
				}
			}
			if _, needed := NeededKeys(p.Classes)[hubKey(login, "a")]; !needed {
				t.Error("the key is not needed, so it is forgotten why the image is withheld")
			}
			if again := Make(s, o, prepulltest.Noon); len(again.Statuses)+len(again.Roll)+len(again.UpdateInPlace) > 0 {
				t.Errorf("a second plan writes %+v", again.Statuses)
			}
		})
	}
}

// Where a class of its own has the nodes of an image, it is pulled there, and its status says that it is not elsewhere.
func TestAPullSecretIsWithheldFromSomeNodes(t *testing.T) {
	t.Parallel()
	image := privateObject("a:1", 9, secretNamed("shop", "login"))
	image.Status.Placements = []v1alpha1.Placement{{NodeSelector: map[string]string{"pool": "0"}}}
	s := State{Nodes: append(prepulltest.Nodes(2), prepulltest.Node("arm", "arm64")), Images: []v1alpha1.PrepullImage{image}, Pulls: copiedAs("copy", prepulltest.Noon)}
	for i, pool := range []string{"0", "1", "0"} {
		s.Nodes[i].Labels["pool"] = pool
	}
	o := testOptions
	o.MaxNodeClasses = 2
	s.carryOut(Make(s, o, prepulltest.Noon))
	selected := meta.FindStatusCondition(s.status(workload.ObjectName("a:1")).Conditions, v1alpha1.ConditionSelected)
	if selected.Reason != "SecretPartlyWithheld" || !strings.Contains(selected.Message, "on the nodes of some classes only. The Secret shop/login would also go") {
		t.Errorf("%s: %s", selected.Reason, selected.Message)
	}
	if len(s.DaemonSets) != 1 || !strings.HasPrefix(s.DaemonSets[0].Name, "kube-prepull-linux-arm64") {
		t.Errorf("%d DaemonSets", len(s.DaemonSets))
	}
}

// A person who declares an image asks for its nodes as somebody of a namespace without a name.
func TestWhoAsksForNodes(t *testing.T) {
	t.Parallel()
	declared, learned := prepulltest.Declared("mine", "a:1"), usedBy("a:1", 1, "api")
	for name, tc := range map[string]struct {
		images []v1alpha1.PrepullImage
		want   []string
	}{
		"the users of a learned image":     {[]v1alpha1.PrepullImage{learned}, []string{"shop"}},
		"who declares it":                  {[]v1alpha1.PrepullImage{declared}, []string{""}},
		"both, if it is used all the same": {[]v1alpha1.PrepullImage{declared, learned}, []string{"", "shop"}},
	} {
		found, _ := candidates(tc.images, prepulltest.Noon)
		if diff := cmp.Diff(tc.want, askedOf(found)[0].Namespaces); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestOnlyTheCopyThatMayBeThereIsUsed has an image whose users come from two namespaces, one of which may run anywhere.
func TestOnlyTheCopyThatMayBeThereIsUsed(t *testing.T) {
	t.Parallel()
	shop, web := secretNamed("shop", "login"), secretNamed("web", "login")
	image := privateObject("a:1", 9, shop, web)
	anywhere := privateObject("b:1", 1, web)
	image.Status.Placements = []v1alpha1.Placement{{NodeSelector: map[string]string{"pool": "0"}}}
	s := State{Nodes: prepulltest.Nodes(2), Images: []v1alpha1.PrepullImage{image, anywhere}, Pulls: copiedAs("copy-shop", prepulltest.Noon)}
	s.Pulls.Copies[web] = "copy-web"
	s.Pulls.Keys[hubKey(web, "a")], s.Pulls.Keys[hubKey(web, "b")] = "", ""
	s.Nodes[0].Labels["pool"], s.Nodes[1].Labels["pool"] = "0", "1"
	o := testOptions
	o.MaxNodeClasses = 1
	s.carryOut(Make(s, o, prepulltest.Noon))
	if diff := cmp.Diff([]corev1.LocalObjectReference{{Name: "copy-web"}}, s.DaemonSet("kube-prepull-linux-amd64").Spec.Template.Spec.ImagePullSecrets); diff != "" {
		t.Errorf("pull secrets (-want +got):\n%s", diff)
	}
}
