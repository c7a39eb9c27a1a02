// Package prepull learns the images that workloads of opted-in namespaces use, and keeps them on the nodes.
//
// The learner reads what admissions point to, and the resync what they missed; both write PrepullImages. The reconciler
// reads those, plans one DaemonSet for each class of nodes, and reports in the status what the nodes make of it.
package prepull

import (
	"fmt"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/util/intstr"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/kube-prepull/kube-prepull/api/clock"
)

// Options of the learner, the resync and the reconciler. The configuration file documents and defaults them.
type Options struct {
	// Namespace is where the prepull DaemonSets live: the manager's own.
	Namespace string

	// NoopImage is the image of cmd/noop, the only one of ours that nodes pull.
	NoopImage string

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

	// RefreshInterval is how often the registry is asked where the tag of an image points that pods always pull.
	RefreshInterval time.Duration

	// Registries are asked about images.
	Registries Registries

	// PullSecrets is set if the pull secrets of workloads are copied and used.
	PullSecrets bool

	// MaxConcurrentNodes is how many nodes of a class, or what share of them, take a new list at the same time.
	MaxConcurrentNodes intstr.IntOrString

	// ResyncInterval is how often the opted-in namespaces are listed to repair what admissions missed.
	ResyncInterval time.Duration

	// Retention is how long an image stays that was seen only on pods which are gone.
	Retention time.Duration

	// RollbackRetention is how long an image stays after a rollout displaced it.
	RollbackRetention time.Duration

	// PullDeadline is how long a node may be busy with one image before the images behind it go first.
	PullDeadline time.Duration

	// NodeCondition is set if nodes are given the condition ImagesReady.
	NodeCondition bool

	// Gate is whether new nodes are held until they are warm.
	Gate Gate

	// HostNetwork is set if the prepull pods are on the network of their nodes.
	HostNetwork bool

	// PriorityClassName is the priority class of the prepull pods; empty means the cluster's default.
	PriorityClassName string

	// Clocks are what is waited. They are not configured.
	Clocks clock.Clocks
}

// Gate is how new nodes are held until they are warm: they register with a taint, which is taken away.
type Gate struct {
	Enabled bool

	// TaintKey is the key of the taint.
	TaintKey string

	// Deadline is how long after its creation a node is let go at the latest.
	Deadline time.Duration

	// MaxBytes is how much a node must have pulled at most before it is called warm. It holds for the condition too.
	MaxBytes int64
}

// SetupWithManager adds the learner, the resync and the reconciler to a manager whose cache has CacheOptions. Hints go
// to the learner that it returns.
func SetupWithManager(mgr ctrl.Manager, o Options) (*Learner, error) {
	learner := newLearner(mgr, o)
	if err := mgr.Add(learner); err != nil {
		return nil, fmt.Errorf("adding the learner: %w", err)
	}
	surveyed := new(atomic.Bool)
	if err := setupResync(mgr, o, learner, surveyed); err != nil {
		return nil, fmt.Errorf("setting up the resync: %w", err)
	}
	if err := setupReconciler(mgr, o, surveyed); err != nil {
		return nil, fmt.Errorf("setting up the reconciler: %w", err)
	}
	if err := mgr.Add(newRefresher(mgr, o)); err != nil {
		return nil, fmt.Errorf("adding the refresher: %w", err)
	}
	starts, err := newStartWatch(mgr, o)
	if err != nil {
		return nil, err
	}
	if err := mgr.Add(starts); err != nil {
		return nil, fmt.Errorf("adding the watch of container starts: %w", err)
	}
	return learner, nil
}
