package lab_test

import (
	"github.com/kube-prepull/kube-prepull/e2e/lab"

	"bufio"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kube-prepull/kube-prepull/e2e/cluster"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(lab.StarterEnv); dir != "" {
		lab.Stay(dir)
	}
	lab.Main(m)
}

// TestNothingIsLeftAfterAKill kills the starter of a cluster, and then also its supervisor, without a warning.
func TestNothingIsLeftAfterAKill(t *testing.T) {
	lab.RequireNodes(t)
	t.Parallel()
	t.Run("of the starter", func(t *testing.T) {
		before, dir := lab.HostState(t), lab.ShortTempDir(t)
		cmd := lab.Starter(t, dir, true)
		lab.Kill(t, cmd.Process.Pid)
		lab.RequireNothingLeft(t, dir, before)
	})
	t.Run("of the starter, while the cluster comes up", func(t *testing.T) {
		before, dir := lab.HostState(t), lab.ShortTempDir(t)
		cmd := lab.Starter(t, dir, false)
		lab.Eventually(t, "a node's folder", func() error {
			_, err := os.Stat(filepath.Join(dir, "nodes"))
			return err
		})
		lab.Kill(t, cmd.Process.Pid)
		lab.RequireNothingLeft(t, dir, before)
	})
	t.Run("of the supervisor, once it has been taken down", func(t *testing.T) {
		before, dir := lab.HostState(t), lab.ShortTempDir(t)
		cmd := lab.Starter(t, dir, true, "DETACHED=yes")
		lab.Kill(t, cmd.Process.Pid)
		supervisors := lab.ProcessesWith(t, "KUBE_PREPULL_TEST_CLUSTER_ROLE_ARGUMENT="+dir)
		if len(supervisors) != 1 {
			t.Fatalf("a detached cluster has the supervisors %v after its starter was killed, want one", supervisors)
		}
		lab.Kill(t, supervisors[0])
		if err := cluster.Down(t.Context(), dir); err != nil {
			t.Fatal(err)
		}
		lab.RequireNothingLeft(t, dir, before)
	})
}

// TestDownTwice takes down what is down already.
func TestDownTwice(t *testing.T) {
	if err := cluster.Down(t.Context(), filepath.Join(t.TempDir(), "never-was")); err != nil {
		t.Fatal(err)
	}
}

// TestDownLeavesOtherFolders is given a folder that is not a cluster's.
func TestDownLeavesOtherFolders(t *testing.T) {
	file := filepath.Join(t.TempDir(), "precious")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := cluster.Down(t.Context(), filepath.Dir(file)); err == nil || !strings.Contains(err.Error(), "not a cluster's") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
}

// TestNodesNeedRoot asks for nodes as a user who may not have them, and gets a sentence at once.
func TestNodesNeedRoot(t *testing.T) {
	dir := lab.ShortTempDir(t)
	start := time.Now()
	output, err := lab.AsNobody(t, dir, nil).CombinedOutput()
	if err == nil || !strings.Contains(string(output), "need root") || time.Since(start) > 5*time.Second {
		t.Errorf("after %s it said %q (%v), want at once that nodes need root", time.Since(start), output, err)
	}
}

// TestAControlPlaneNeedsNoRoot brings one up, with fake nodes, as a user without any privilege.
func TestAControlPlaneNeedsNoRoot(t *testing.T) {
	t.Parallel()
	binaries, err := cluster.Binaries(t.Context(), lab.Progress{T: t})
	if err != nil {
		t.Fatal(err)
	}
	dir := lab.ShortTempDir(t)
	// The binaries may be in a folder that only root can enter.
	named := filepath.Join(dir, "programs")
	if err := os.MkdirAll(named, 0o755); err != nil {
		t.Fatal(err)
	}
	programs, err := filepath.Glob(filepath.Join(binaries, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, program := range programs {
		if err := os.Link(program, filepath.Join(named, filepath.Base(program))); err != nil {
			lab.CopyFile(t, program, filepath.Join(named, filepath.Base(program)))
		}
	}
	cmd := lab.AsNobody(t, dir, []string{"NO_NODES=yes", cluster.ProgramsEnv + "=" + named})
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(output).ReadString('\n')
	if err != nil || line != "up\n" {
		t.Errorf("it says %q (%v), want up", line, err)
	}
	lab.Kill(t, cmd.Process.Pid)
	cmd.Wait() //nolint:errcheck // it was killed
	lab.RequireGone(t, filepath.Join(dir, "cluster"))
}
