package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-prepull/kube-prepull/e2e/cluster"
)

// RequireNodes skips a test that needs real nodes where there can be none, and says why.
func RequireNodes(t *testing.T) {
	t.Helper()
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		t.Skipf("SKIPPED: real nodes need root on Linux (this is user %d on %s)", os.Geteuid(), runtime.GOOS)
	}
}

// Progress shows what takes long as it happens.
type Progress struct{ T *testing.T }

func (p Progress) Write(text []byte) (int, error) {
	p.T.Log(strings.TrimRight(string(text), "\n"))
	return len(text), nil
}

// ShortTempDir is an empty folder that does not outlive the test, with a name short enough for sockets.
func ShortTempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(systemTemporary, "kpp-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) }) //nolint:errcheck // a folder in the system's temporary one
	return dir
}

// CopyFile copies a program. No process starts meanwhile: one that another test forks would hold the copy open for writing,
// and what is written to cannot be run (https://go.dev/issue/22315).
func CopyFile(t *testing.T, from, to string) {
	t.Helper()
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	source, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	target, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	if _, err := io.Copy(target, source); err != nil {
		t.Fatal(err)
	}
}

// Kill ends a process without a warning.
func Kill(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// ProcessesWith are the ids of the processes that were started with an environment variable.
func ProcessesWith(t *testing.T, variable string) []int {
	t.Helper()
	return matchingProcesses("environ", func(content string) bool {
		return slices.Contains(strings.Split(content, "\x00"), variable)
	})
}

func matchingProcesses(file string, match func(string) bool) []int {
	paths, _ := filepath.Glob("/proc/[0-9]*/" + file)
	var pids []int
	for _, path := range paths {
		if content, err := os.ReadFile(path); err == nil && match(string(content)) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			pids = append(pids, pid)
		}
	}
	return pids
}

// host is what a cluster could leave on this machine outside its own folder. Other clusters may run meanwhile.
type host struct {
	Interfaces, Folders []string
	Firewall            string
}

// HostState is what clusters that are down, or ran before, have left on this machine.
func HostState(t *testing.T) host {
	t.Helper()
	var h host
	interfaces, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	sockets, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range interfaces {
		// A running cluster holds the slot that its interface is named after.
		slot, ours := strings.CutPrefix(i.Name, "prepull")
		if !ours || !strings.Contains(string(sockets), "@kube-prepull-test-cluster-"+slot+"\n") {
			h.Interfaces = append(h.Interfaces, i.Name)
		}
	}
	for _, folder := range []string{"/opt/containerd", "/run/containerd", "/run/netns", "/var/lib/containerd", "/var/lib/kubelet", "/var/lib/cni", "/var/log/pods", "/var/log/containers", "/etc/cni"} {
		if _, err := os.Stat(folder); err == nil {
			h.Folders = append(h.Folders, folder)
		}
	}
	rules, err := exec.Command("nft", "list", "ruleset").CombinedOutput()
	h.Firewall = fmt.Sprint(string(rules), err)
	return h
}

// RequireNothingLeft waits for every trace of a cluster to be gone.
func RequireNothingLeft(t *testing.T, dir string, before host) {
	t.Helper()
	RequireGone(t, dir)
	Eventually(t, "the host to be as before", func() error {
		// What another cluster had is gone if that went meanwhile.
		now := HostState(t)
		now.Interfaces = slices.DeleteFunc(now.Interfaces, func(name string) bool { return slices.Contains(before.Interfaces, name) })
		now.Folders = slices.DeleteFunc(now.Folders, func(name string) bool { return slices.Contains(before.Folders, name) })
		if len(now.Interfaces)+len(now.Folders) > 0 || now.Firewall != before.Firewall {
			return errors.New(cmp.Diff(before, now))
		}
		for _, pattern := range []string{"/sys/fs/cgroup/", "/sys/fs/cgroup/*/"} {
			if cgroups, _ := filepath.Glob(pattern + cluster.CgroupPrefix(dir) + "*"); len(cgroups) > 0 {
				return fmt.Errorf("there are cgroups %v", cgroups)
			}
		}
		return nil
	})
}

// RequireGone waits until no process and no mount, in whatever namespace, knows the folder, and it does not exist.
func RequireGone(t *testing.T, dir string) {
	t.Helper()
	Eventually(t, dir+" to be gone", func() error {
		knows := func(content string) bool { return strings.Contains(content, dir) }
		for _, file := range []string{"mountinfo", "environ", "cmdline"} {
			pids := slices.DeleteFunc(matchingProcesses(file, knows), func(pid int) bool { return pid == os.Getpid() })
			if len(pids) > 0 {
				return fmt.Errorf("the %s of processes %v tells of it", file, pids)
			}
		}
		if _, err := os.Stat(dir); err == nil {
			return errors.New("the folder is there")
		}
		return nil
	})
}

// StarterEnv turns this test binary into a program that brings up a cluster in a folder, says so, and stays.
const StarterEnv = "KUBE_PREPULL_TEST_STARTER"

// Stay brings up a cluster in a folder, as the environment says, and stays until it is killed.
func Stay(dir string) {
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

// Starter runs stay and returns when it says up, or at once.
func Starter(t *testing.T, dir string, wait bool, env ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), StarterEnv+"="+dir), env...)
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

// AsNobody is the starter of a cluster in dir/cluster, run without privileges: as another user if this one is root.
func AsNobody(t *testing.T, dir string, env []string) *exec.Cmd {
	t.Helper()
	binary := filepath.Join(dir, "starter")
	CopyFile(t, os.Args[0], binary)
	cmd := exec.Command(binary)
	cmd.Dir = "/"
	cmd.Env = append(env, StarterEnv+"="+filepath.Join(dir, "cluster"), "PATH="+os.Getenv("PATH"), "HOME="+dir)
	if os.Geteuid() == 0 {
		if err := os.Chown(dir, 65534, 65534); err != nil {
			t.Fatal(err)
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	return cmd
}
