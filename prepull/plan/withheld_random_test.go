package plan

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/nodeclass"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
)

// TestNoNodeHasAPullSecretOfNobodyThere makes plans for random tenants, with room for few classes. Each node of a class whose
// DaemonSet names a copy could run a pod of those who use the Secret, and a plan that is carried out stays as it is.
func TestNoNodeHasAPullSecretOfNobodyThere(t *testing.T) {
	t.Parallel()
	withheld := 0
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 9))
		o := testOptions
		o.MaxNodeClasses = 1 + random.IntN(6)
		s := State{Nodes: prepulltest.Nodes(2 + random.IntN(8)), Pulls: Pulls{Copies: map[v1alpha1.SecretReference]string{}, Keys: map[Key]string{}}}
		for i := range s.Nodes {
			for _, key := range []string{"pool", "zone", "node-restriction.kubernetes.io/team"} {
				if random.IntN(4) > 0 {
					s.Nodes[i].Labels[key] = fmt.Sprint(random.IntN(3))
				}
			}
			if random.IntN(4) == 0 {
				s.Nodes[i].Spec.Taints = []corev1.Taint{{Key: "team", Value: fmt.Sprint(random.IntN(3)), Effect: corev1.TaintEffectNoSchedule}}
			}
		}
		using := map[string][]v1alpha1.Placement{} // by the name of the copy
		for i := range 1 + random.IntN(8) {
			namespace := fmt.Sprint("tenant-", random.IntN(3))
			ref, image := secretNamed(namespace, "login"), fmt.Sprint("image-", i)
			object := privateObject(image+":1", 1, ref)
			object.Status.Users = []v1alpha1.User{{Kind: "Deployment", Namespace: namespace, Name: "api"}}
			for range 1 + random.IntN(2) {
				key := []string{"pool", "zone", "node-restriction.kubernetes.io/team"}[random.IntN(3)]
				p := v1alpha1.Placement{NodeSelector: map[string]string{key: fmt.Sprint(random.IntN(3))}}
				if random.IntN(3) == 0 {
					p.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
				}
				object.Status.Placements = append(object.Status.Placements, p)
			}
			s.Images = append(s.Images, object)
			s.Pulls.Copies[ref], s.Pulls.Keys[hubKey(ref, image)] = "copy-"+namespace, ""
			using["copy-"+namespace] = append(using["copy-"+namespace], object.Status.Placements...)
		}
		p := Make(s, o, prepulltest.Noon)
		s.carryOut(p)
		for _, cp := range p.Classes {
			withheld += len(cp.withheld)
			ds := s.DaemonSet(daemonSetName(cp.Name, 1))
			if ds == nil {
				continue
			}
			for _, secret := range ds.Spec.Template.Spec.ImagePullSecrets {
				for _, n := range cp.Nodes {
					fits := func(asked v1alpha1.Placement) bool { return nodeclass.Fits(n, nodeclass.NewPlacement(&asked)) }
					if !slices.ContainsFunc(using[secret.Name], fits) {
						t.Errorf("seed %d: %s has %s, which nobody uses who may run there", seed, n.Name, secret.Name)
					}
				}
			}
		}
		if again := Make(s, o, prepulltest.Noon); len(again.Roll)+len(again.UpdateInPlace)+len(again.DeleteEmpty)+len(again.Statuses) > 0 {
			t.Errorf("seed %d: a second plan writes more", seed)
		}
	}
	if withheld < 100 {
		t.Errorf("%d images were withheld: this shows little", withheld)
	}
}
