package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// nodeHost is the machine of a node: namespaces with a first process that starts the node's programs. Killing that
// process is pulling the plug: the kernel ends everything else in them. Its disk, the folder of the node, stays.
type nodeHost struct {
	node  Node
	index int
	init  *running // nil while it is switched off
}

// nodeSpec is what the first process of a node needs to know.
type nodeSpec struct {
	Node                      Node
	Dir                       string // of the node: its disk is below var
	Binaries, Registries, CNI string
	IP, PodCIDR               string
	Slot                      int
	Cgroup                    string
	Kubelet                   map[string]any
	Minor                     int // of Kubernetes
}

func (s *supervisor) nodeDir(name string) string { return s.state.path("nodes", name) }

func (s *supervisor) cgroup(node string) string { return CgroupPrefix(s.state.Options.Dir) + node }

// addNode prepares the disk of a new node and switches it on.
func (s *supervisor) addNode(node Node) error {
	if err := node.validate(); err != nil {
		return err
	}
	if s.nodes[node.Name] != nil {
		return fmt.Errorf("there is a node %s already", node.Name)
	}
	if s.nextIndex > maxNodes {
		return fmt.Errorf("a cluster has addresses for %d nodes", maxNodes)
	}
	host := &nodeHost{node: node, index: s.nextIndex}
	s.nextIndex++
	if err := s.writeNode(host); err != nil {
		return fmt.Errorf("preparing node %s: %w", node.Name, err)
	}
	s.nodes[node.Name] = host
	return s.startNode(host)
}

func (s *supervisor) writeNode(host *nodeHost) error {
	name := host.node.Name
	dir := s.nodeDir(name)
	for _, d := range []string{"lib/kubelet", "lib/containerd", "lib/kube-prepull/bin", "lib/kube-prepull/registries", "lib/cni/net.d", "log", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, "var", d), 0o755); err != nil {
			return err
		}
	}
	if err := os.Symlink("/run", filepath.Join(dir, "var", "run")); err != nil {
		return err
	}
	if err := s.authority.kubeconfig(filepath.Join(dir, "var/lib/kubelet/"+name+".kubeconfig"), s.state.APIServer, "system:node:"+name, "system:nodes"); err != nil {
		return err
	}
	for from, to := range map[string]string{s.authority.crt("ca"): "ca.crt", s.state.path("kube-proxy.kubeconfig"): "kube-proxy.kubeconfig"} {
		content, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, "var/lib/kubelet", to), content, 0o600); err != nil {
			return err
		}
	}
	spec := nodeSpec{
		Node: host.node, Dir: dir, Binaries: s.state.Binaries, Registries: s.state.path("registries"), CNI: cniDir(),
		IP: nodeIP(s.state.Slot, host.index), PodCIDR: podCIDR(s.state.Slot, host.index), Slot: s.state.Slot, Cgroup: s.cgroup(name),
		Kubelet: s.state.Options.Kubelet, Minor: s.state.Minor,
	}
	content, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	if err := writeNodeConfig(&spec); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "spec.json"), content, 0o600)
}

// startNode switches the node's machine on.
func (s *supervisor) startNode(host *nodeHost) error {
	name := host.node.Name
	if host.init != nil {
		return fmt.Errorf("node %s is running", name)
	}
	if err := createCgroup(s.cgroup(name)); err != nil {
		return err
	}
	// The kubelet waits for its network and for the API server until this pipe is closed.
	awaited, given, err := os.Pipe()
	if err != nil {
		return err
	}
	defer awaited.Close()
	cmd := exec.Command(selfExecutable)
	cmd.Env = append(command("").Env, roleEnv+"=node", roleArgumentEnv+"="+s.nodeDir(name))
	cmd.ExtraFiles = []*os.File{awaited}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
	}
	init, err := s.starter.start("node-"+name, cmd)
	if err != nil {
		return errors.Join(err, given.Close())
	}
	if err := s.fabric.addNode(init.cmd.Process.Pid, host.index); err != nil {
		init.kill()
		return errors.Join(fmt.Errorf("connecting node %s: %w", name, err), given.Close(), removeCgroup(s.cgroup(name)))
	}
	host.init = init
	go func() {
		<-s.serving
		given.Close()
	}()
	return nil
}

// stopNode pulls the plug.
func (s *supervisor) stopNode(host *nodeHost) error {
	if host.init == nil {
		return nil
	}
	host.init.kill()
	host.init = nil
	return removeCgroup(s.cgroup(host.node.Name))
}

// removeNode pulls the plug and throws the disk away.
func (s *supervisor) removeNode(host *nodeHost) error {
	if err := s.stopNode(host); err != nil {
		return err
	}
	delete(s.nodes, host.node.Name)
	return os.RemoveAll(s.nodeDir(host.node.Name))
}
