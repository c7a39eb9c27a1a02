package nodeclass

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

func TestVirtualNodes(t *testing.T) {
	t.Parallel()
	fargate := []string{"eks.amazonaws.com/compute-type=fargate", "eks.amazonaws.com/compute-type=fargate:NoSchedule"}
	for name, test := range map[string]struct {
		marks   []string
		virtual string
	}{
		"a node of Fargate":                {fargate, "label eks.amazonaws.com/compute-type=fargate"},
		"another compute type of EKS":      {[]string{"eks.amazonaws.com/compute-type=auto"}, ""},
		"Virtual Kubelet":                  {[]string{"type=virtual-kubelet", "virtual-kubelet.io/provider=azure:NoSchedule"}, "label type=virtual-kubelet"},
		"Virtual Kubelet without its type": {[]string{"virtual-kubelet.io/provider=x:NoSchedule"}, "taint virtual-kubelet.io/provider"},
		"Virtual Kubelet without a taint":  {[]string{"type=virtual-kubelet"}, "label type=virtual-kubelet"},
		"another type":                     {[]string{"type=kwok"}, ""},
		"any node":                         {nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := nodeWith("marked", test.marks...)
			if got := VirtualBy(&n); got != test.virtual {
				t.Errorf("it is virtual by %q, want %q", got, test.virtual)
			}
			// Of all that classes are selected by, only one class is left: it tolerates everything.
			nodes := []corev1.Node{prepulltest.Node("a", "amd64"), nodeWith("b", "gpu=yes:NoSchedule"), n}
			for _, limit := range []int{1, 30} {
				for _, c := range classify(nodes, [][]v1alpha1.Placement{{workload.Anywhere()}}, limit, prepulltest.Noon).Classes {
					member := slices.Contains(nodeNames(c.Nodes), "marked")
					matches, err := nodeaffinity.NewRequiredNodeAffinity(nil, c.Affinity()).Match(&n)
					if err != nil || test.virtual != "" && (member || limit == 1 && matches) || test.virtual == "" && limit == 1 && !(member && matches) {
						t.Errorf("with at most %d classes: in %s: %v, selected: %v (%v)", limit, c.Name, member, matches, err)
					}
				}
			}
		})
	}
}

func TestImagesForVirtualNodesAlone(t *testing.T) {
	t.Parallel()
	tolerating := selector("type=virtual-kubelet")
	tolerating.Tolerations = []corev1.Toleration{{Key: virtualTaint, Operator: corev1.TolerationOpExists}}
	wanted := [][]v1alpha1.Placement{{tolerating}, {selector("type=virtual-kubelet")}, {selector("pool=x")}}
	got := classify([]corev1.Node{prepulltest.Node("a", "amd64"), nodeWith("v", "type=virtual-kubelet", virtualTaint+":NoSchedule")}, wanted, 30, prepulltest.Noon)
	var words []string
	for i := range wanted {
		if got.Classes[0].Fits(i) {
			t.Errorf("image %d has a use on %v", i, nodeNames(got.Classes[0].Nodes))
		}
		words = append(words, got.WhyNowhere(i, wanted[i]))
	}
	want := []string{
		"Only virtual nodes match what its pods ask of a node, and these run no DaemonSet pods.",
		"No Linux node matches what its pods ask of a node.",
		"No Linux node matches what its pods ask of a node.",
	}
	if diff := cmp.Diff(want, words); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
