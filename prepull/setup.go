// Package prepull keeps the images that workloads of opted-in namespaces use on the nodes.
//
// The learner (package learn) writes PrepullImages. The reconciler observes those and the cluster, has package plan make a
// plan with one DaemonSet for each class of nodes, and carries it out: nodes, DaemonSets and statuses each have a writer.
package prepull

import (
	"fmt"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/kube-prepull/kube-prepull/api/clock"
	"github.com/kube-prepull/kube-prepull/prepull/learn"
	"github.com/kube-prepull/kube-prepull/prepull/plan"
)

// Options of the learner, the resync and the reconciler. The configuration file documents and defaults them.
type Options struct {
	plan.Options

	// PullSecrets is set if the pull secrets of workloads are copied and used.
	PullSecrets bool

	// LearnFromPods is set if an image counts once a pod with it is stored.
	LearnFromPods bool

	// ResyncInterval is how often the opted-in namespaces are listed to repair what admissions missed.
	ResyncInterval time.Duration

	// Retention is how long an image stays that was seen only on pods which are gone.
	Retention time.Duration

	// RollbackRetention is how long an image stays after a rollout displaced it.
	RollbackRetention time.Duration

	// RefreshInterval is how often the registry is asked where the tag of an image points that pods always pull.
	RefreshInterval time.Duration

	// Registries are asked about images.
	Registries Registries

	// Clocks are what is waited. They are not configured.
	Clocks clock.Clocks

	// Stopping is true once this manager was told to stop: admissions go to others from then on, and if there is none nobody learns
	// of an image that a node should have. nil is one that is never told.
	Stopping func() bool

	// ClockOff is true while this machine's clock is wrong; nil is a clock that is right.
	ClockOff func() bool
}

// SetupWithManager adds the learner, the resync and the reconciler to a manager whose cache has CacheOptions. Hints go
// to the learner that it returns.
func SetupWithManager(mgr ctrl.Manager, o Options) (*learn.Learner, error) {
	learner, resynced, err := learn.SetupWithManager(mgr, learn.Options{
		Namespace: o.Namespace, PullSecrets: o.PullSecrets, FromPods: o.LearnFromPods, ResyncInterval: o.ResyncInterval,
		Retention: o.Retention, RollbackRetention: o.RollbackRetention, CacheSyncTimeout: crdPatience, Clocks: o.Clocks, ClockOff: o.ClockOff,
	})
	if err != nil {
		return nil, err
	}
	if err := setupReconciler(mgr, o, resynced); err != nil {
		return nil, fmt.Errorf("setting up the reconciler: %w", err)
	}
	if err := mgr.Add(newRefresher(mgr, o)); err != nil {
		return nil, fmt.Errorf("adding the refresher: %w", err)
	}
	counts, err := newStartMetrics(ctrlmetrics.Registry)
	if err != nil {
		return nil, err
	}
	starts, err := newStartWatch(mgr, o, counts)
	if err != nil {
		return nil, err
	}
	if err := mgr.Add(starts); err != nil {
		return nil, fmt.Errorf("adding the watch of container starts: %w", err)
	}
	return learner, nil
}
