package prepull

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

func TestClassify(t *testing.T) {
	t.Parallel()
	windows := testNode("windows", "amd64")
	windows.Labels[corev1.LabelOSStable] = "windows"
	unlabelled := testNode("unlabelled", "amd64")
	delete(unlabelled.Labels, corev1.LabelArchStable)
	odd := testNode("odd", "AMD_64")
	cordoned := testNode("cordoned", "amd64")
	cordoned.Spec.Unschedulable = true
	notReady := testNode("not-ready", "amd64")
	notReady.Status.Conditions[0].Status = corev1.ConditionUnknown
	young := testNode("young", "amd64")
	young.Status.Conditions = nil
	leaving := testNode("leaving", "amd64")
	leaving.DeletionTimestamp = &metav1.Time{Time: noon}

	type class struct {
		Name           string
		Nodes, Waiting []string
	}
	for name, tc := range map[string]struct {
		nodes []corev1.Node
		want  []class
	}{
		"no nodes, no classes": {nil, nil},
		"one class for each architecture, by name": {
			[]corev1.Node{testNode("c", "arm64"), testNode("b", "amd64"), testNode("a", "amd64")},
			[]class{{"linux-amd64", []string{"a", "b"}, []string{"a", "b"}}, {"linux-arm64", []string{"c"}, []string{"c"}}},
		},
		"other systems and unknown architectures have no class": {[]corev1.Node{windows, unlabelled, odd}, nil},
		"nobody waits for a node that cannot pull now": {
			[]corev1.Node{cordoned, notReady, young, leaving, testNode("well", "amd64")},
			[]class{{"linux-amd64", []string{"cordoned", "leaving", "not-ready", "well", "young"}, []string{"well"}}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []class
			for _, c := range classify(tc.nodes) {
				got = append(got, class{c.name, nodeNames(c.nodes), nodeNames(c.waiting)})
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("classes (-want +got):\n%s", diff)
			}
		})
	}
}

func nodeNames(nodes []*corev1.Node) []string {
	var names []string
	for _, n := range nodes {
		names = append(names, n.Name)
	}
	return names
}

func TestPlaceOn(t *testing.T) {
	t.Parallel()
	nodes := []corev1.Node{testNode("amd", "amd64"), testNode("arm", "arm64")}
	nodes[1].Labels["pool"] = "big"
	for name, tc := range map[string]struct {
		selector map[string]string
		want     []string
	}{
		"no selector means everywhere":                   {nil, []string{"linux-amd64", "linux-arm64"}},
		"an architecture is a class":                     {map[string]string{corev1.LabelArchStable: "arm64"}, []string{"linux-arm64"}},
		"another label means classes with such a node":   {map[string]string{"pool": "big"}, []string{"linux-arm64"}},
		"all labels must match the same node":            {map[string]string{"pool": "big", corev1.LabelArchStable: "amd64"}, nil},
		"a label that no node has means nowhere":         {map[string]string{"pool": "small"}, nil},
		"another operating system has no class of nodes": {map[string]string{corev1.LabelOSStable: "windows"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := declaredObject("mine", "a:1")
			o.Spec.NodeSelector = tc.selector
			found, _ := candidates([]v1alpha1.PrepullImage{o}, noon)
			var got []string
			for _, c := range classify(nodes) {
				if len(placeOn(found, c)) > 0 {
					got = append(got, c.name)
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("classes (-want +got):\n%s", diff)
			}
		})
	}
}
