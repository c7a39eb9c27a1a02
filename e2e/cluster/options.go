package cluster

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime"

	corev1 "k8s.io/api/core/v1"
)

// Options say what to bring up.
type Options struct {
	// Dir is the cluster's folder: its state, logs and kubeconfig. It must not exist or be empty, and is removed when
	// the cluster goes down.
	Dir string
	// Nodes are the real nodes to start with.
	Nodes []Node
	// FakeNodes is how many nodes KWOK pretends to run, named fake-0 and so on.
	FakeNodes int
	// ControlPlaneOnly leaves out nodes and their network, now and later; it needs no privileges. The API server then
	// listens on a loopback address, and reaches webhooks by URL only.
	ControlPlaneOnly bool
	// APIServerFlags are added to the API server's command line, and win over the defaults.
	APIServerFlags []string
	// AdmissionPlugins are enabled beside the default ones.
	AdmissionPlugins []string
	// Kubelet is merged into the configuration of every kubelet (kubelet.config.k8s.io/v1beta1), key by key.
	Kubelet map[string]any
	// Large sets the control plane and KWOK up as clusters of thousands of nodes do.
	Large bool
	// Detached lets the cluster outlive the process that starts it; Down ends it.
	Detached bool
	// Lifeline is a file that somebody has locked (flock, exclusively): the cluster ends when he lets go of it, or dies.
	// Default: none.
	Lifeline string
	// Progress is told what takes long. Default: nobody.
	Progress io.Writer `json:"-"`
}

// Node is a real node.
type Node struct {
	// Name of the node and of its host: a DNS label.
	Name string
	// Labels are set by the kubelet as it registers.
	Labels map[string]string
	// Taints are on the node from the moment it registers.
	Taints []corev1.Taint
	// Kubelet is merged into the kubelet's configuration after the cluster's.
	Kubelet map[string]any
}

// maxNodes is how many nodes, one after the other, the addresses of a cluster are enough for.
const maxNodes = 200

var nodeName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

func (o *Options) validate() error {
	if o.Dir == "" {
		return errors.New("a cluster needs a folder: set Options.Dir")
	}
	if entries, err := os.ReadDir(o.Dir); err == nil && len(entries) > 0 {
		return fmt.Errorf("the folder %s is not empty: is a cluster running there? Take it down first", o.Dir)
	}
	if o.FakeNodes < 0 {
		return fmt.Errorf("the number of fake nodes is %d", o.FakeNodes)
	}
	if o.ControlPlaneOnly {
		if len(o.Nodes) > 0 {
			return errors.New("a control plane alone has no real nodes: leave out Nodes or ControlPlaneOnly")
		}
		return nil
	}
	if runtime.GOOS != "linux" {
		return fmt.Errorf("real nodes need Linux, this is %s: set ControlPlaneOnly", runtime.GOOS)
	}
	if os.Geteuid() != 0 {
		return errors.New("real nodes need root (namespaces, mounts, cgroups): run as root, or ask for a control plane only")
	}
	if len(o.Nodes) > maxNodes {
		return fmt.Errorf("a cluster has addresses for %d nodes, not for %d", maxNodes, len(o.Nodes))
	}
	seen := map[string]bool{}
	for _, n := range o.Nodes {
		if err := n.validate(); err != nil {
			return err
		}
		if seen[n.Name] {
			return fmt.Errorf("two nodes are called %s", n.Name)
		}
		seen[n.Name] = true
	}
	return nil
}

func (n *Node) validate() error {
	if !nodeName.MatchString(n.Name) {
		return fmt.Errorf("node name %q: use lower-case letters, digits and dashes, 63 at most", n.Name)
	}
	return nil
}
