package measure

import (
	"testing"

	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

func TestNoImageKnowsWhereNoopIsThatIsMeasured(t *testing.T) {
	t.Parallel()
	s := &subject{image: "a:1", noopImage: "noop:1"}
	one, other := s.pod("a", "node-1").Spec, s.pod("a", "node-1").Spec
	folder := one.InitContainers[0].Args[1]
	if !workload.IsNoopFolder(folder) || other.InitContainers[0].Args[1] == folder {
		t.Errorf("it is in %s, and then in %s", folder, other.InitContainers[0].Args[1])
	}
	measured := one.Containers[0]
	if measured.Command[0] != folder+"/noop" || measured.VolumeMounts[0].MountPath != folder || measured.WorkingDir != "/" {
		t.Errorf("%s is run in %q, mounted at %s", measured.Command, measured.WorkingDir, measured.VolumeMounts[0].MountPath)
	}
}
