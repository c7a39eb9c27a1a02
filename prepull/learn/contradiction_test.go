package learn

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
	"github.com/kube-prepull/kube-prepull/prepull/workload/workloadtest"
)

// Pods of a template have other images than it, by turns. Whatever the learner looks at again, and however often the resync comes, what
// is in use stays as the first resync found it, and nothing is written.
func TestATemplateThatContradictsItsPodsComesToRest(t *testing.T) {
	t.Parallel()
	images := []string{"app:v1", "injected-a:v1", "injected-b:v1"}
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 1))
		d := workloadtest.Deployment("api", images[0])
		d.Status.Replicas = int32(1 + random.IntN(3))
		d.Status.UpdatedReplicas = d.Status.Replicas
		objects := []client.Object{d}
		for range d.Status.Replicas {
			objects = append(objects, workloadtest.RolledOut("api", images[random.IntN(len(images))]))
		}
		c := censusOf("shop")
		for _, o := range objects {
			c.add(o)
		}
		c.settle()
		stored := carriedOut(nil, planned(c, testRetention))
		for range 20 {
			if random.IntN(3) == 0 {
				if changes := planned(c, testRetention, stored...); len(changes) > 0 {
					t.Fatalf("seed %d: a resync changes %d", seed, len(changes))
				}
				continue
			}
			again := objects[random.IntN(len(objects))]
			if image := taught(again, stored); image != "" {
				t.Fatalf("seed %d: the learner changes what is known of %s", seed, image)
			}
		}
		for _, o := range stored {
			used := slices.ContainsFunc(objects[1:], func(pod client.Object) bool { return slices.Contains(workload.ImagesOf(pod, nil), o.Spec.Image) })
			if used != (o.Status.UserCount > 0) || !used && o.Status.Users[0].Runs == "" {
				t.Errorf("seed %d: %s has the users %+v, and pods run it: %v", seed, o.Spec.Image, o.Status.Users, used)
			}
		}
	}
}

// taught is an image of which an object tells the learner something new, empty if there is none.
func taught(obj client.Object, stored []v1alpha1.PrepullImage) string {
	s := observation{images: workload.ImagesOf(obj, nil), user: workload.UserOf(obj), pod: workload.KindOf(obj) == "Pod"}
	for _, use := range usesOf([]observation{s}) {
		at := slices.IndexFunc(stored, func(o v1alpha1.PrepullImage) bool { return o.Spec.Image == use.image })
		if at < 0 {
			return use.image
		}
		have := learnedOf(stored[at].Status)
		next := have.withUse(use.user, use.demand, prepulltest.Noon)
		if use.predicted {
			next = have.predictedFor(use.user, use.demand, prepulltest.Noon)
		}
		if !next.equal(have) {
			return fmt.Sprintf("%s (%+v)", use.image, next.Users)
		}
	}
	return ""
}
