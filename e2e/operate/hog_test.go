package operate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-prepull/kube-prepull/e2e/images"
	"github.com/kube-prepull/kube-prepull/e2e/lab"
)

// hogTime is longer than a lease is for.
const hogTime = 40 * time.Second

// TestManagersBesideAHogStayUp has programs on both nodes that take all the processors they get, as a pod may that asks for two of
// them. The managers ask for what the chart says.
func TestManagersBesideAHogStayUp(t *testing.T) {
	t.Parallel()
	p := product{lab.LeaseAsShipped(t)}
	p.Namespace(t, "hogged", true)
	before, managers := p.lease(t), p.Managers(t)
	var hogs []*hog
	for _, manager := range managers {
		hogs = append(hogs, hogBeside(t, manager))
	}
	start := time.Now()
	image := p.Push(t, "hogged/app:v1", images.Image{Seed: 165})
	p.Deploy(t, "hogged", lab.Deployment("app", image, 0))
	lab.Eventually(t, "the image to be learned", func() error {
		if p.PrepullImage(t, image) == nil {
			return errors.New("it is not known")
		}
		return nil
	})
	t.Logf("the image was learned after %s", time.Since(start).Round(time.Millisecond))
	time.Sleep(time.Until(start.Add(hogTime)))
	for i, h := range hogs {
		ran, waited := h.demand(t)
		h.end(t)
		t.Logf("beside %s others had %s of %s, and waited %s for more", managers[i].Name, ran, hogTime, waited)
		if ran+waited < hogTime*3/2 { // how much of it they get is the machine's business
			t.Error("that is no hog")
		}
	}
	after := p.lease(t)
	if *after.Spec.HolderIdentity != *before.Spec.HolderIdentity || *after.Spec.LeaseTransitions != *before.Spec.LeaseTransitions {
		t.Errorf("%s leads, before %s", *after.Spec.HolderIdentity, *before.Spec.HolderIdentity)
	}
	was := lab.PodIdentities(managers)
	if is := lab.PodIdentities(p.Managers(t)); strings.Join(is, "\n") != strings.Join(was, "\n") {
		t.Errorf("the managers were %q and are %q", was, is)
	}
	p.WaitState(t, image, "Ready")
}

// hog is a cgroup beside the pods of a node, with programs that spin.
type hog struct {
	dir      string
	programs []*exec.Cmd
}

// hogBeside starts two of them on the node of a pod. They end by themselves soon after the test wants them to.
func hogBeside(t *testing.T, pod corev1.Pod) *hog {
	t.Helper()
	h := &hog{dir: filepath.Join(podsOf(t, pod), "hog")}
	if err := os.Mkdir(h.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.end(t) })
	// What a pod has that asks for two processors (MilliCPUToShares in pkg/kubelet/cm).
	err := os.WriteFile(filepath.Join(h.dir, "cpu.shares"), []byte("2048"), 0o644)
	if errors.Is(err, fs.ErrNotExist) {
		err = os.WriteFile(filepath.Join(h.dir, "cpu.weight"), []byte("79"), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		spins := exec.Command("timeout", fmt.Sprint((2 * hogTime).Seconds()), "sh", "-c", `echo $$ > "$0/cgroup.procs"; while :; do :; done`, h.dir)
		if err := spins.Start(); err != nil {
			t.Fatal(err)
		}
		h.programs = append(h.programs, spins)
	}
	return h
}

// podsOf is the cgroup of all pods of the node that a pod runs on, where processors are divided.
func podsOf(t *testing.T, pod corev1.Pod) string {
	t.Helper()
	for _, pid := range lab.ProcessesWith(t, "HOSTNAME="+pod.Name) {
		content, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(content)) {
			parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
			mount := map[string]string{"cpu": "/sys/fs/cgroup/cpu", "cpu,cpuacct": "/sys/fs/cgroup/cpu,cpuacct", "": "/sys/fs/cgroup"}[parts[1]]
			if above, _, found := strings.Cut(parts[2], "/kubepods"); found && mount != "" {
				if dir := filepath.Join(mount, above, "kubepods"); isFolder(dir) {
					return dir
				}
			}
		}
	}
	t.Fatalf("%s is in no cgroup of pods", pod.Name)
	return ""
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// demand is for how long its programs had a processor, and for how long they were ready to run and had none.
func (h *hog) demand(t *testing.T) (ran, waited time.Duration) {
	t.Helper()
	procs, err := os.ReadFile(filepath.Join(h.dir, "cgroup.procs"))
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range strings.Fields(string(procs)) {
		stat, err := os.ReadFile("/proc/" + pid + "/schedstat")
		if err != nil {
			t.Fatal(err)
		}
		var on, queued time.Duration // nanoseconds: Documentation/scheduler/sched-stats.rst
		if _, err := fmt.Sscan(string(stat), &on, &queued); err != nil {
			t.Fatalf("reading %q: %v", stat, err)
		}
		ran, waited = ran+on, waited+queued
	}
	return ran, waited
}

// end ends the programs. Once more it does nothing.
func (h *hog) end(t *testing.T) {
	t.Helper()
	for _, spins := range h.programs {
		_ = spins.Process.Signal(syscall.SIGTERM) // timeout passes it on; the program may have ended by itself
		_ = spins.Wait()                          // it was interrupted
	}
	h.programs = nil
	lab.Eventually(t, "the cgroup of the hog to go", func() error {
		if err := os.Remove(h.dir); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	})
}
