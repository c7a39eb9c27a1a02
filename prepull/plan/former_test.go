package plan

import (
	"encoding/json"
	"fmt"
	"os"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/kube-prepull/kube-prepull/prepull/prepulltest"
)

// TestTheDaemonSetOfAFormerVersionStays holds what an upgrade finds: the DaemonSet of five images as the last version wrote it that
// brought all of them (testdata/init-containers.json, read back from an API server). It comes into its new form without a pod of it
// being restarted, and holds what it has when an image comes.
func TestTheDaemonSetOfAFormerVersionStays(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("testdata/init-containers.json")
	if err != nil {
		t.Fatal(err)
	}
	var former appsv1.DaemonSet
	if err := json.Unmarshal(content, &former); err != nil {
		t.Fatal(err)
	}
	o := holding
	o.NoopImage, o.PriorityClassName, o.MaxConcurrentNodes = "registry.test/kube-prepull-noop:lab", "kube-prepull", intstr.FromInt32(50)
	s := State{Nodes: ableNodes(3), DaemonSets: []*appsv1.DaemonSet{&former}}
	var images []string
	for i := range 5 {
		images = append(images, fmt.Sprintf("registry.test/shop/app-%d:v1", i))
		s.Images = append(s.Images, prepulltest.Declared(fmt.Sprint("app-", i), images[i]))
	}
	s.runPods(prepulltest.Noon, none)
	p := Make(s, o, prepulltest.Noon)
	if len(p.Roll)+len(p.DeleteOrphaned)+len(p.DeleteEmpty)+len(p.DeletePods) > 0 {
		t.Errorf("an upgrade rolls %d DaemonSets, deletes %d and %d pods", len(p.Roll), len(p.DeleteOrphaned)+len(p.DeleteEmpty), len(p.DeletePods))
	}
	for _, ds := range p.UpdateInPlace {
		if ds.Spec.UpdateStrategy.Type != appsv1.OnDeleteDaemonSetStrategyType {
			t.Error("an upgrade restarts pods")
		}
	}
	s.Images = append(s.Images, prepulltest.Declared("next", "registry.test/shop/next:v1"))
	s.carryOut(Make(s, o, prepulltest.Noon))
	s.wantDivided(t, "with another image", "[registry.test/shop/next:v1]", fmt.Sprint(images))
}
