package cluster

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"golang.org/x/sys/unix"
)

// nodeMain is the first process of a node's machine: it mounts the node's disk, starts its programs, and collects the
// processes that lose their parent. It returns when one of the programs has ended.
func nodeMain(dir string) error {
	content, err := os.ReadFile(filepath.Join(dir, "spec.json"))
	if err != nil {
		return err
	}
	var spec nodeSpec
	if err := json.Unmarshal(content, &spec); err != nil {
		return err
	}
	if err := mountDisk(&spec); err != nil {
		return fmt.Errorf("mounting the node's disk: %w", err)
	}
	if err := unix.Sethostname([]byte(spec.Node.Name)); err != nil {
		return err
	}
	if err := setSysctls("net/ipv4/ip_forward=1"); err != nil {
		return err
	}
	syscall.CloseOnExec(3)
	return runNode(&spec, os.NewFile(3, "awaited"))
}

const nodeBin = "/var/lib/kube-prepull/bin"

// mountDisk gives the node a /var of its own, where everything that lasts is kept, and a fresh /run.
func mountDisk(spec *nodeSpec) error {
	disk := filepath.Join(spec.Dir, "var")
	for _, m := range []struct {
		source, target, fstype string
		flags                  uintptr
	}{
		{"", "/", "", unix.MS_REC | unix.MS_PRIVATE}, // nothing below reaches the host
		{spec.Binaries, filepath.Join(disk, "lib/kube-prepull/bin"), "", unix.MS_BIND},
		{spec.Registries, filepath.Join(disk, "lib/kube-prepull/registries"), "", unix.MS_BIND},
		{disk, "/var", "", unix.MS_BIND | unix.MS_REC},
		{"tmpfs", "/run", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV},
		{"proc", "/proc", "proc", 0},
		{"", "/", "", unix.MS_REC | unix.MS_SHARED}, // the kubelet's mounts reach the containers
	} {
		if err := unix.Mount(m.source, m.target, m.fstype, m.flags, ""); err != nil {
			return fmt.Errorf("mounting %s: %w", m.target, err)
		}
	}
	return nil
}

// runNode starts the node's programs and waits. Those that talk to the API server are started once the supervisor has
// closed the other end of the awaited pipe: the node's network is connected then, and the API server serves. As process
// 1 it is told of every child's end, known or adopted, in one place; that is why nothing here waits for a process by
// itself.
func runNode(spec *nodeSpec, awaited io.Reader) error {
	children := make(map[int]string)
	start := func(program string, args ...string) error {
		log, err := os.OpenFile(filepath.Join("/var/log", program+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		defer log.Close()
		cmd := command(filepath.Join(nodeBin, program), args...)
		cmd.Env[0] = "PATH=" + nodeBin + ":" + cmd.Env[0][len("PATH="):]
		cmd.Stdout, cmd.Stderr = log, log
		if err := cmd.Start(); err != nil {
			return fmt.Errorf("starting %s: %w", program, err)
		}
		children[cmd.Process.Pid] = program
		return nil
	}
	if err := start("containerd", "--config=/var/lib/containerd/config.toml"); err != nil {
		return err
	}
	if err := loadPauseImage(); err != nil {
		return errors.Join(fmt.Errorf("loading the pause image: %w", err), errors.New(tailOf("/var/log/containerd.log")))
	}
	if _, err := io.Copy(io.Discard, awaited); err != nil {
		return err
	}
	if err := start("kubelet", kubeletArgs(spec)...); err != nil {
		return err
	}
	if err := start("kube-proxy", "--config=/var/lib/kubelet/kube-proxy.yaml"); err != nil {
		return err
	}
	return collect(children)
}

// collect waits for children, adopted ones included, until one of the known programs has ended.
func collect(children map[int]string) error {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("waiting for processes: %w", err)
		}
		if program, ok := children[pid]; ok {
			how := fmt.Sprintf("exit code %d", status.ExitStatus())
			if status.Signaled() {
				how = fmt.Sprintf("signal %q", status.Signal())
			}
			return fmt.Errorf("%s ended (%s); the end of its log:\n%s", program, how, tailOf(filepath.Join("/var/log", program+".log")))
		}
	}
}

// loadPauseImage waits for containerd and imports the sandbox image, made here of one static binary.
func loadPauseImage() error {
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial("unix", "/run/containerd/containerd.sock")
		if err == nil {
			conn.Close()
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("containerd does not answer: %w", err)
		}
	}
	archive := "/run/pause.tar"
	if err := writePauseImage(archive); err != nil {
		return err
	}
	defer os.Remove(archive)
	output, err := exec.Command(filepath.Join(nodeBin, "ctr"), "--namespace=k8s.io", "images", "import", "--local", archive).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, output)
	}
	return nil
}

func writePauseImage(path string) error {
	binary, err := os.ReadFile(filepath.Join(nodeBin, "pause"))
	if err != nil {
		return err
	}
	var content bytes.Buffer
	w := tar.NewWriter(&content)
	if err := w.WriteHeader(&tar.Header{Name: "pause", Mode: 0o755, Size: int64(len(binary))}); err != nil {
		return err
	}
	if _, err := w.Write(binary); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content.Bytes())), nil })
	if err != nil {
		return err
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return err
	}
	image, err = mutate.ConfigFile(image, pauseConfig(image))
	if err != nil {
		return err
	}
	tag, err := name.NewTag(pauseImage)
	if err != nil {
		return err
	}
	return tarball.WriteToFile(path, tag, image)
}

func pauseConfig(image v1.Image) *v1.ConfigFile {
	config, err := image.ConfigFile()
	if err != nil {
		config = &v1.ConfigFile{}
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", runtime.GOARCH
	config.Config.Entrypoint, config.Config.User = []string{"/pause"}, "65535:65535"
	return config
}
