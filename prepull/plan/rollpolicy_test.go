package plan

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
)

func TestThePolicyKnowsEveryCase(t *testing.T) {
	t.Parallel()
	for state := settled; state <= stopped; state++ {
		for change := changedNothing; change <= changedList; change++ {
			if _, found := rollPolicy[state][change]; !found {
				t.Errorf("nothing is said of change %d in state %d", change, state)
			}
		}
		if rollPolicy[state][changedList] != roll {
			t.Errorf("in state %d no pod gets a new list", state)
		}
	}
}

func TestRollState(t *testing.T) {
	t.Parallel()
	pod := func(node, list string) *corev1.Pod {
		p := prepulltest.Pod(node, prepulltest.Noon)
		p.Labels = map[string]string{v1alpha1.LabelList: list}
		return p
	}
	leaving := pod("a", "old")
	leaving.DeletionTimestamp = &metav1.Time{Time: prepulltest.Noon}
	for name, tc := range map[string]struct {
		left bool
		pods []*corev1.Pod
		want rollState
	}{
		"no pods":                               {false, nil, settled},
		"every pod has the list":                {false, []*corev1.Pod{pod("a", "new"), pod("b", "new")}, settled},
		"a pod has another one":                 {false, []*corev1.Pod{pod("a", "new"), pod("b", "old")}, rolling},
		"a node has two pods":                   {false, []*corev1.Pod{pod("a", "new"), pod("a", "new")}, rolling},
		"pods without a node are not on one":    {false, []*corev1.Pod{pod("", "new"), pod("", "new")}, settled},
		"what leaves does not count":            {false, []*corev1.Pod{leaving, pod("a", "new")}, settled},
		"pods are left alone":                   {true, []*corev1.Pod{pod("a", "new")}, onDelete},
		"pods are left alone, two on a node":    {true, []*corev1.Pod{pod("a", "new"), pod("a", "new")}, onDelete},
		"a pod is left alone with another list": {true, []*corev1.Pod{pod("a", "old")}, stopped},
	} {
		ds := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{v1alpha1.LabelList: "new"}}}
		if tc.left {
			keepPods(ds)
		}
		if got := rollStateOf(ds, tc.pods, true); got != tc.want {
			t.Errorf("%s: %d, want %d", name, got, tc.want)
		}
	}
}

func TestListChange(t *testing.T) {
	t.Parallel()
	list := func(edit func(*appsv1.DaemonSet), images ...string) *appsv1.DaemonSet {
		ds := testDaemonSet(testOptions, images...)
		if edit != nil {
			edit(ds)
		}
		return ds
	}
	digest := func(value string) func(*appsv1.DaemonSet) {
		return func(ds *appsv1.DaemonSet) {
			broughtBy(ds)[0].Env = []corev1.EnvVar{{Name: digestVariable, Value: value}}
		}
	}
	hold := func(ds *appsv1.DaemonSet) {
		spec := &ds.Spec.Template.Spec
		spec.Volumes = append(spec.Volumes, imageVolume(entry{Candidate: &Candidate{Name: spec.InitContainers[1].Name, image: "a:1"}}))
		spec.InitContainers = spec.InitContainers[:1]
		ds.Labels[v1alpha1.LabelList] = listLabel(ds)
	}
	elsewhere := func(ds *appsv1.DaemonSet) {
		ds.Spec.Template.Spec.Tolerations = append(ds.Spec.Template.Spec.Tolerations, corev1.Toleration{Key: "elsewhere"})
	}
	for name, tc := range map[string]struct {
		stored, desired *appsv1.DaemonSet
		want            listChange
	}{
		"nothing":                     {list(nil, "a:1"), list(nil, "a:1"), changedNothing},
		"another image":               {list(nil, "a:1"), list(nil, "b:1"), changedList},
		"another image and nodes":     {list(nil, "a:1"), list(elsewhere, "b:1"), changedList},
		"another order":               {list(nil, "a:1", "b:1"), list(nil, "b:1", "a:1"), changedList},
		"other nodes":                 {list(nil, "a:1"), list(elsewhere, "a:1"), changedNodes},
		"a digest that was not known": {list(nil, "a:1"), list(digest("sha256:1"), "a:1"), changedDigests},
		"a tag that moved":            {list(digest("sha256:1"), "a:1"), list(digest("sha256:2"), "a:1"), changedList},
		"another division":            {list(nil, "a:1"), list(hold, "a:1"), changedDivision},
		"the same digest":             {list(digest("sha256:1"), "a:1"), list(digest("sha256:1"), "a:1"), changedNothing},
	} {
		if got := listChangeOf(tc.stored, tc.desired); got != tc.want {
			t.Errorf("%s: %d, want %d", name, got, tc.want)
		}
	}
}
