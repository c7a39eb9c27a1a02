package e2e

import (
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
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-prepull/kube-prepull/e2e/cluster"
)

// requireNodes skips a test that needs real nodes where there can be none, and says why.
func requireNodes(t *testing.T) {
	t.Helper()
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		t.Skipf("SKIPPED: real nodes need root on Linux (this is user %d on %s)", os.Geteuid(), runtime.GOOS)
	}
}

// upCluster brings up a cluster that ends with the test.
func upCluster(t *testing.T, o cluster.Options) *cluster.Cluster {
	t.Helper()
	o.Dir, o.Progress = shortTempDir(t), progress{t}
	c, err := cluster.Up(t.Context(), audited(o))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := takeDown(c); err != nil {
			t.Errorf("taking the cluster down: %v", err)
		}
	})
	return c
}

// progress shows what takes long as it happens.
type progress struct{ t *testing.T }

func (p progress) Write(text []byte) (int, error) {
	p.t.Log(strings.TrimRight(string(text), "\n"))
	return len(text), nil
}

// shortTempDir is an empty folder that does not outlive the test, with a name short enough for sockets.
func shortTempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(systemTemporary, "kpp-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) }) //nolint:errcheck // a folder in the system's temporary one
	return dir
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
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

func kill(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// processesWith are the ids of the processes that were started with an environment variable.
func processesWith(t *testing.T, variable string) []int {
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

func hostState(t *testing.T) host {
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

// requireNothingLeft waits for every trace of a cluster to be gone.
func requireNothingLeft(t *testing.T, dir string, before host) {
	t.Helper()
	requireGone(t, dir)
	eventually(t, 10*time.Second, "the host to be as before", func() error {
		// What another cluster had is gone if that went meanwhile.
		now := hostState(t)
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

// requireGone waits until no process and no mount, in whatever namespace, knows the folder, and it does not exist.
func requireGone(t *testing.T, dir string) {
	t.Helper()
	eventually(t, 30*time.Second, dir+" to be gone", func() error {
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

// eventually asks until there is no error, and fails with the last one.
func eventually(t *testing.T, timeout time.Duration, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(timeout)
	for {
		start := time.Now()
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited %s for %s: %v", timeout, what, err)
		}
		// Looking must not be what keeps the machine busy.
		time.Sleep(max(50*time.Millisecond, 4*time.Since(start)))
	}
}
