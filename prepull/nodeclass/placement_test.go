package nodeclass

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// affine is a placement with a required node affinity of one term for each requirement.
func affine(requirements ...corev1.NodeSelectorRequirement) v1alpha1.Placement {
	p := v1alpha1.Placement{NodeAffinity: &corev1.NodeSelector{}}
	for _, r := range requirements {
		p.NodeAffinity.NodeSelectorTerms = append(p.NodeAffinity.NodeSelectorTerms,
			corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{r}})
	}
	return p
}

func selector(pairs ...string) v1alpha1.Placement {
	p := v1alpha1.Placement{NodeSelector: map[string]string{}}
	for _, pair := range pairs {
		key, value, _ := strings.Cut(pair, "=")
		p.NodeSelector[key] = value
	}
	return p
}

func tolerant(tolerations ...corev1.Toleration) v1alpha1.Placement {
	return v1alpha1.Placement{Tolerations: tolerations}
}

func TestWhereAPlacementFits(t *testing.T) {
	t.Parallel()
	plain := nodeWith("plain", "pool=big", "size=10")
	gpu := nodeWith("gpu", "gpu=yes:NoSchedule")
	both := nodeWith("both", "gpu=yes:NoSchedule", "gpu=yes:NoExecute")
	busy := nodeWith("busy", "node.kubernetes.io/memory-pressure:NoSchedule", "ToBeDeletedByClusterAutoscaler=1:NoSchedule",
		"kube-prepull.io/warming:NoSchedule", "node.cilium.io/agent-not-ready:NoExecute", "startup-taint.cluster-autoscaler.kubernetes.io/a:NoSchedule", "readiness.k8s.io/images:NoSchedule")
	and := affine()
	and.NodeAffinity.NodeSelectorTerms = []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{
		Require("pool", corev1.NodeSelectorOpExists), Require("zone", corev1.NodeSelectorOpExists),
	}}}
	named := affine()
	named.NodeAffinity.NodeSelectorTerms = []corev1.NodeSelectorTerm{{MatchFields: []corev1.NodeSelectorRequirement{
		Require(metav1.ObjectNameField, corev1.NodeSelectorOpIn, "plain"),
	}}}
	selected := affine(Require("pool", corev1.NodeSelectorOpExists))
	selected.NodeSelector = map[string]string{"pool": "small"}

	for name, tc := range map[string]struct {
		node      corev1.Node
		placement v1alpha1.Placement
		want      bool
	}{
		"who asks for nothing":                           {plain, v1alpha1.Placement{}, true},
		"a label":                                        {plain, selector("pool=big"), true},
		"another value":                                  {plain, selector("pool=small"), false},
		"one of two labels":                              {plain, selector("pool=big", "zone=a"), false},
		"a value that no label can have":                 {plain, selector("pool=not a label!"), false},
		"one of two terms":                               {plain, affine(Require("zone", corev1.NodeSelectorOpExists), Require("pool", corev1.NodeSelectorOpIn, "big")), true},
		"one of two requirements of a term":              {plain, and, false},
		"the affinity but not the selector":              {plain, selected, false},
		"a label that must be absent":                    {plain, affine(Require("zone", corev1.NodeSelectorOpDoesNotExist)), true},
		"a value that must differ":                       {plain, affine(Require("zone", corev1.NodeSelectorOpNotIn, "a")), true},
		"a greater number":                               {plain, affine(Require("size", corev1.NodeSelectorOpGt, "9")), true},
		"a number that is not less":                      {plain, affine(Require("size", corev1.NodeSelectorOpLt, "9")), false},
		"a number that is none":                          {plain, affine(Require("size", corev1.NodeSelectorOpGt, "few")), false},
		"a label that is no number":                      {plain, affine(Require("pool", corev1.NodeSelectorOpGt, "1")), false},
		"an unknown operator":                            {plain, affine(Require("pool", "Like", "b")), false},
		"a bad term beside a good one":                   {plain, affine(Require("pool", "Like", "b"), Require("size", corev1.NodeSelectorOpExists)), true},
		"an affinity without terms":                      {plain, affine(), false},
		"the name of the node":                           {plain, named, true},
		"the name of another node":                       {gpu, named, false},
		"a taint that is not tolerated":                  {gpu, v1alpha1.Placement{}, false},
		"a taint that is tolerated":                      {gpu, tolerant(corev1.Toleration{Key: "gpu", Value: "yes"}), true},
		"a taint of another value":                       {gpu, tolerant(corev1.Toleration{Key: "gpu", Operator: corev1.TolerationOpEqual, Value: "no"}), false},
		"a taint of any value":                           {gpu, tolerant(corev1.Toleration{Key: "gpu", Operator: corev1.TolerationOpExists}), true},
		"every taint":                                    {both, workload.Anywhere(), true},
		"one of two effects":                             {both, tolerant(corev1.Toleration{Key: "gpu", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule}), false},
		"taints that come and go":                        {busy, v1alpha1.Placement{}, true},
		"a taint that only makes other nodes preferable": {nodeWith("soft", "x:PreferNoSchedule"), v1alpha1.Placement{}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := Fits(&tc.node, NewPlacement(&tc.placement)); got != tc.want {
				t.Errorf("fits: %v", got)
			}
		})
	}
}

// Whatever users ask for, nodes have their classes, and an image goes nowhere or where it fits.
func TestWhatNoNodeFits(t *testing.T) {
	t.Parallel()
	windows := nodeWith("windows", "pool=win")
	windows.Labels[corev1.LabelOSStable] = "windows"
	nodes := []corev1.Node{nodeWith("plain", "pool=big", "size=huge"), nodeWith("tainted", "team=a:NoExecute"), windows}
	for name, tc := range map[string]struct {
		placements []v1alpha1.Placement
		classes    int
		want       []string
	}{
		"no placement at all is everywhere":           {nil, 2, []string{"plain", "tainted"}},
		"a taint that nobody tolerates":               {[]v1alpha1.Placement{{}}, 2, []string{"plain"}},
		"a label that no node has":                    {[]v1alpha1.Placement{selector("nobody=x")}, 2, nil},
		"numbers that are none":                       {[]v1alpha1.Placement{affine(Require("size", corev1.NodeSelectorOpGt, "1")), affine(Require("pool", corev1.NodeSelectorOpLt, "x"))}, 2, nil},
		"odd characters":                              {[]v1alpha1.Placement{selector("pool=big\x00", "söße=ü"), selector("=")}, 2, nil},
		"Windows only":                                {[]v1alpha1.Placement{selector(corev1.LabelOSStable + "=windows")}, 2, nil},
		"a label that only Windows nodes have":        {[]v1alpha1.Placement{selector("pool=win")}, 2, nil},
		"an architecture that no node has":            {[]v1alpha1.Placement{selector(corev1.LabelArchStable + "=s390x")}, 2, nil},
		"one node by its label":                       {[]v1alpha1.Placement{selector(corev1.LabelHostname + "=plain")}, 2, []string{"plain"}},
		"one of many placements that fits is enough":  {[]v1alpha1.Placement{selector("a=b"), selector("pool=big"), affine()}, 2, []string{"plain"}},
		"an affinity that mentions what all can lack": {[]v1alpha1.Placement{affine(Require("x", corev1.NodeSelectorOpNotIn, "y"))}, 2, []string{"plain"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			result := classify(nodes, [][]v1alpha1.Placement{tc.placements}, 30, prepulltest.Noon)
			var got []string
			for _, c := range result.Classes {
				if c.Fits(0) {
					got = append(got, nodeNames(c.Nodes)...)
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" || len(result.Classes) != tc.classes {
				t.Errorf("%d classes, nodes (-want +got):\n%s", len(result.Classes), diff)
			}
		})
	}
}

func TestNodesOfOneClassWithNamesThatAUserMentions(t *testing.T) {
	t.Parallel()
	result := classify(prepulltest.Nodes(3), [][]v1alpha1.Placement{{selector(corev1.LabelHostname + "=node-001")}}, 30, prepulltest.Noon)
	if len(result.Classes) != 1 || !result.Classes[0].Fits(0) || len(result.ignoredKeys) > 0 {
		t.Errorf("%d classes, ignored %v", len(result.Classes), result.ignoredKeys)
	}
}

func TestManyKeys(t *testing.T) {
	t.Parallel()
	var keys []string
	for i := range 70 {
		keys = append(keys, fmt.Sprintf("key-%02d", i))
	}
	everything := nodeWith("everything")
	for _, key := range keys {
		everything.Labels[key] = "x"
	}
	windows := everything.DeepCopy()
	windows.Name, windows.Labels[corev1.LabelOSStable] = "windows", "windows"
	for name, tc := range map[string]struct {
		keys            []string
		nodes           []corev1.Node
		labels, absent  int
		classes, ignore int
	}{
		"fifty keys, each on one node": {keys[:50], []corev1.Node{nodeWith("a", "key-00=x"), nodeWith("b", "key-49=x")}, 1, 49, 2, 0},
		"those that nodes carry first": {keys, []corev1.Node{nodeWith("a", "key-69=x"), nodeWith("b", "key-68=x")}, 1, 63, 2, 0},
		"not what Windows nodes carry": {keys, []corev1.Node{nodeWith("a", "key-69=x"), *windows}, 1, 63, 1, 0},
		"those that all nodes carry":   {keys, []corev1.Node{everything}, 64, 0, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := classify(tc.nodes, mentions(tc.keys...), 30, prepulltest.Noon)
			c := got.Classes[0]
			if len(c.labels) != tc.labels || len(c.absent) != tc.absent || len(got.Classes) != tc.classes || len(got.ignoredKeys) != tc.ignore {
				t.Errorf("%d labels, %d absent, %d classes, ignored %v", len(c.labels), len(c.absent), len(got.Classes), got.ignoredKeys)
			}
		})
	}
}
