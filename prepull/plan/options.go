package plan

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Options are what of the configuration a plan depends on. The configuration file documents and defaults them.
type Options struct {
	// Namespace is where the prepull DaemonSets live: the manager's own.
	Namespace string

	// NoopImage is the image of cmd/noop, the only one of ours that nodes pull.
	NoopImage string

	// NoopPullSecrets are the Secrets in the namespace that it is pulled with.
	NoopPullSecrets []string

	// NoopFolder is where noop is if no stored DaemonSet says so, one of workload.NoopFolder.
	NoopFolder string

	// MaxImagesPerNode is how many images a node gets at most.
	MaxImagesPerNode int

	// MaxBytesPerNode is how much disk the images of a node take at most: a quantity, or a percentage of the allocatable
	// ephemeral storage of the smallest node of a class.
	MaxBytesPerNode string

	// MinBytes is the size from which a learned image is worth a place.
	MinBytes int64

	// Exclude are patterns of learned images that are not pulled; an asterisk stands for any text.
	Exclude []string

	// MaxNodeClasses is how many classes of nodes there are at most.
	MaxNodeClasses int

	// MaxConcurrentNodes is how many nodes of a class, or what share of them, take a new list at the same time.
	MaxConcurrentNodes intstr.IntOrString

	// PullsPerNode is how many prepull pods a node has, which pull at the same time; 0 means 1.
	PullsPerNode int

	// ImageVolumes is set if images that are on the nodes are held there as image volumes, where nodes can mount those.
	ImageVolumes bool

	// PullDeadline is how long a node may be busy with one image before the images behind it go first.
	PullDeadline time.Duration

	// NodeCondition is set if nodes are given the condition ImagesReady.
	NodeCondition bool

	// Gate is whether new nodes are held until they are warm.
	Gate Gate

	// Mirror is what prepull pods wait for before they pull.
	Mirror Mirror

	// HostNetwork is set if the prepull pods are on the network of their nodes.
	HostNetwork bool

	// AssignedUser is set if the cluster gives the prepull pods their user and refuses others.
	AssignedUser bool

	// PriorityClassName is the priority class of the prepull pods; empty means the cluster's default.
	PriorityClassName string
}

// Gate is how new nodes are held until they are warm: they register with a taint, which is taken away.
type Gate struct {
	Enabled bool

	// TaintKey is the key of the taint.
	TaintKey string

	// Deadline is how long after its creation a node is untainted at the latest.
	Deadline time.Duration

	// MaxBytes is how much a node must have pulled at most before it is called warm. It holds for the condition too.
	MaxBytes int64
}

// key is that of the taint, empty if there is no gate.
func (g Gate) key() string {
	if !g.Enabled {
		return ""
	}
	return g.TaintKey
}

// TaintsOf are the taints of the gate on a node, by their positions.
func (g Gate) TaintsOf(n *corev1.Node) map[int]corev1.Taint {
	var found map[int]corev1.Taint
	for i, t := range n.Spec.Taints {
		if g.Enabled && t.Key == g.TaintKey {
			if found == nil {
				found = map[int]corev1.Taint{}
			}
			found[i] = t
		}
	}
	return found
}
