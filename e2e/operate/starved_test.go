package operate

import (
	"fmt"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/e2e/images"
	"github.com/kube-prepull/kube-prepull/e2e/lab"
)

// TestManagersWithHardlyAProcessorStayUp gives managers what a node gives them that has far more to do than it can, by a limit
// that starves nobody else. Then they get nothing at all for a while: the leader for longer than most leases are for, and
// the other one for longer than kubelets wait for the health of most programs.
func TestManagersWithHardlyAProcessorStayUp(t *testing.T) {
	t.Parallel()
	p := product{lab.Lease(t, "--set", "resources.limits.cpu=20m,resources.requests.cpu=10m", "--set", "flowSchema.enabled=true")}
	for _, manager := range p.Managers(t) {
		started := manager.Status.ContainerStatuses[0].State.Running.StartedAt
		for _, c := range manager.Status.Conditions {
			if c.Type == "Ready" {
				t.Logf("%s was ready %s after its start", manager.Name, c.LastTransitionTime.Sub(started.Time))
			}
		}
	}
	p.Namespace(t, "starved", true)
	image := p.Push(t, "starved/app:v1", images.Image{Seed: 161})
	p.Deploy(t, "starved", lab.Deployment("app", image, 0))
	p.WaitState(t, image, "Ready")

	before := p.lease(t)
	leader, _, _ := strings.Cut(*before.Spec.HolderIdentity, "_")
	pause(t, leader, 16*time.Second)
	lab.Eventually(t, "the leader to renew its lease", func() error {
		if now := p.lease(t); !now.Spec.RenewTime.After(before.Spec.RenewTime.Add(20 * time.Second)) {
			return fmt.Errorf("it did so at %s, and %s at %s", before.Spec.RenewTime, *now.Spec.HolderIdentity, now.Spec.RenewTime)
		}
		return nil
	})
	if after := p.lease(t); *after.Spec.HolderIdentity != *before.Spec.HolderIdentity || *after.Spec.LeaseTransitions != *before.Spec.LeaseTransitions {
		t.Errorf("%s leads, before %s", *after.Spec.HolderIdentity, *before.Spec.HolderIdentity)
	}
	for _, manager := range p.Managers(t) {
		if manager.Name != leader {
			pause(t, manager.Name, 45*time.Second)
		}
	}
	metrics, err := p.Kubectl(t.Context(), "get", "--raw", "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	if !leasesFirst.MatchString(metrics) {
		t.Error("the API server serves the lease on another level")
	}
	managers, err := p.Client().CoreV1().Pods(lab.System).List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=webhook"})
	if err != nil {
		t.Fatal(err)
	}
	if len(managers.Items) != 2 {
		t.Errorf("there are %d managers", len(managers.Items))
	}
	for _, manager := range managers.Items {
		if restarts := manager.Status.ContainerStatuses[0].RestartCount; restarts > 0 {
			t.Errorf("%s was restarted %d times", manager.Name, restarts)
		}
	}
}

// pause stops the process of a manager for a while.
func pause(t *testing.T, manager string, d time.Duration) {
	t.Helper()
	pids := lab.ProcessesWith(t, "HOSTNAME="+manager)
	if len(pids) == 0 {
		t.Fatalf("%s has no process", manager)
	}
	for _, signal := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGCONT} {
		for _, pid := range pids {
			if err := syscall.Kill(pid, signal); err != nil {
				t.Error(err)
			}
		}
		if signal == syscall.SIGSTOP {
			time.Sleep(d)
		}
	}
}

// leasesFirst is what the API server counts of requests on the level of leader elections that our FlowSchema put there.
var leasesFirst = regexp.MustCompile(`(?m)^apiserver_flowcontrol_dispatched_requests_total\{flow_schema="kube-prepull-leader-election",priority_level="leader-election"\} [1-9]`)

func (p product) lease(t *testing.T) *coordinationv1.Lease {
	t.Helper()
	lease, err := p.Client().CoordinationV1().Leases(lab.System).Get(t.Context(), "kube-prepull", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return lease
}
