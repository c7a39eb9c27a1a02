package e2e

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kube-prepull/kube-prepull/e2e/cluster"
)

// starterEnv turns this test binary into a program that brings up a cluster in a folder, says so, and stays.
const starterEnv = "KUBE_PREPULL_TEST_STARTER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(starterEnv); dir != "" {
		stay(dir)
	}
	remove, err := keepTemporary()
	if err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
	code := m.Run()
	if err := downShared(); err != nil {
		os.Stderr.WriteString("taking the shared cluster down: " + err.Error() + "\n")
		code = 1
	}
	if err := checkPrivileges(code == 0); err != nil {
		os.Stderr.WriteString("permissions that are not as they should be:\n" + err.Error() + "\n")
		code = 1
	}
	if err := remove(); err != nil {
		os.Stderr.WriteString("removing temporary files: " + err.Error() + "\n")
		code = 1
	}
	os.Exit(code)
}

func stay(dir string) {
	options := cluster.Options{Dir: dir, Progress: os.Stdout, Nodes: []cluster.Node{{Name: "node-1"}}, Detached: os.Getenv("DETACHED") != ""}
	if os.Getenv("NO_NODES") != "" {
		options.Nodes, options.ControlPlaneOnly, options.FakeNodes = nil, true, 3
	}
	if _, err := cluster.Up(context.Background(), options); err != nil {
		os.Stdout.WriteString("failed: " + err.Error() + "\n")
		os.Exit(1)
	}
	os.Stdout.WriteString("up\n")
	select {}
}

// starter runs stay and returns when it says up, or at once.
func starter(t *testing.T, dir string, wait bool, env ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), starterEnv+"="+dir), env...)
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill() //nolint:errcheck // the test has usually done so
		cmd.Wait()         //nolint:errcheck
	})
	lines := bufio.NewScanner(output)
	for wait && lines.Scan() {
		if lines.Text() == "up" {
			return cmd
		}
		if strings.HasPrefix(lines.Text(), "failed") {
			t.Fatal(lines.Text())
		}
	}
	return cmd
}

// TestNothingIsLeftAfterAKill kills the starter of a cluster, and then also its supervisor, without a warning.
func TestNothingIsLeftAfterAKill(t *testing.T) {
	requireNodes(t)
	t.Parallel()
	t.Run("of the starter", func(t *testing.T) {
		before, dir := hostState(t), shortTempDir(t)
		cmd := starter(t, dir, true)
		kill(t, cmd.Process.Pid)
		requireNothingLeft(t, dir, before)
	})
	t.Run("of the starter, while the cluster comes up", func(t *testing.T) {
		before, dir := hostState(t), shortTempDir(t)
		cmd := starter(t, dir, false)
		eventually(t, 30*time.Second, "a node's folder", func() error {
			_, err := os.Stat(filepath.Join(dir, "nodes"))
			return err
		})
		kill(t, cmd.Process.Pid)
		requireNothingLeft(t, dir, before)
	})
	t.Run("of the supervisor, once it has been taken down", func(t *testing.T) {
		before, dir := hostState(t), shortTempDir(t)
		cmd := starter(t, dir, true, "DETACHED=yes")
		kill(t, cmd.Process.Pid)
		supervisors := processesWith(t, "KUBE_PREPULL_TEST_CLUSTER_ROLE_ARGUMENT="+dir)
		if len(supervisors) != 1 {
			t.Fatalf("a detached cluster has the supervisors %v after its starter was killed, want one", supervisors)
		}
		kill(t, supervisors[0])
		if err := cluster.Down(t.Context(), dir); err != nil {
			t.Fatal(err)
		}
		requireNothingLeft(t, dir, before)
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
	dir := shortTempDir(t)
	start := time.Now()
	output, err := asNobody(t, dir, nil).CombinedOutput()
	if err == nil || !strings.Contains(string(output), "need root") || time.Since(start) > 5*time.Second {
		t.Errorf("after %s it said %q (%v), want at once that nodes need root", time.Since(start), output, err)
	}
}

// TestAControlPlaneNeedsNoRoot brings one up, with fake nodes, as a user without any privilege.
func TestAControlPlaneNeedsNoRoot(t *testing.T) {
	t.Parallel()
	binaries, err := cluster.Binaries(t.Context(), progress{t})
	if err != nil {
		t.Fatal(err)
	}
	dir := shortTempDir(t)
	// The binaries may be in a folder that only root can enter.
	cache := filepath.Join(dir, "cache", "binaries", filepath.Base(binaries))
	if err := os.MkdirAll(cache, 0o755); err != nil {
		t.Fatal(err)
	}
	programs, err := filepath.Glob(filepath.Join(binaries, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, program := range programs {
		if err := os.Link(program, filepath.Join(cache, filepath.Base(program))); err != nil {
			copyFile(t, program, filepath.Join(cache, filepath.Base(program)))
		}
	}
	cmd := asNobody(t, dir, []string{"NO_NODES=yes", cluster.CacheDirEnv + "=" + filepath.Join(dir, "cache")})
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
	kill(t, cmd.Process.Pid)
	cmd.Wait() //nolint:errcheck // it was killed
	requireGone(t, filepath.Join(dir, "cluster"))
}

// asNobody is the starter of a cluster in dir/cluster, run without privileges: as another user if this one is root.
func asNobody(t *testing.T, dir string, env []string) *exec.Cmd {
	t.Helper()
	binary := filepath.Join(dir, "starter")
	copyFile(t, os.Args[0], binary)
	cmd := exec.Command(binary)
	cmd.Dir = "/"
	cmd.Env = append(env, starterEnv+"="+filepath.Join(dir, "cluster"), "PATH="+os.Getenv("PATH"), "HOME="+dir)
	if os.Geteuid() == 0 {
		if err := os.Chown(dir, 65534, 65534); err != nil {
			t.Fatal(err)
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	return cmd
}
