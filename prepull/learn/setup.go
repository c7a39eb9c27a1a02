// Package learn learns the images that workloads of opted-in namespaces use, and keeps them in PrepullImages.
//
// The learner reads what admissions point to, on every replica; the resync reads what they missed, on the leader.
package learn

import (
	"fmt"
	"sync/atomic"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/kube-prepull/kube-prepull/api/clock"
)

// Options are those of the learner and the resync. The configuration file documents and defaults them.
type Options struct {
	// Namespace is the manager's own; nothing is learned there.
	Namespace string

	// PullSecrets is set if the pull secrets of workloads are copied and used.
	PullSecrets bool

	// FromPods is set if an image counts once a pod with it is stored, and not as soon as a template names it.
	FromPods bool

	// ResyncInterval is how often the opted-in namespaces are listed to repair what admissions missed.
	ResyncInterval time.Duration

	// Retention is how long an image stays that was seen only on pods which are gone.
	Retention time.Duration

	// RollbackRetention is how long an image stays after a rollout displaced it.
	RollbackRetention time.Duration

	// CacheSyncTimeout is how long the resync waits for its caches.
	CacheSyncTimeout time.Duration

	// Clocks are what is waited. They are not configured.
	Clocks clock.Clocks

	// ClockOff is true while this machine's clock is wrong: no image's time is over then. Nil is a clock that is right.
	ClockOff func() bool
}

// SetupWithManager adds the learner and the resync to a manager. Hints go to the learner that it returns, and resynced is set
// once the resync has looked at all namespaces for the first time.
func SetupWithManager(mgr ctrl.Manager, o Options) (l *Learner, resynced *atomic.Bool, err error) {
	m, err := newMetrics(ctrlmetrics.Registry)
	if err != nil {
		return nil, nil, err
	}
	l = newLearner(mgr, o, m)
	if err := mgr.Add(l); err != nil {
		return nil, nil, fmt.Errorf("adding the learner: %w", err)
	}
	resynced = new(atomic.Bool)
	if err := setupResync(mgr, o, l, resynced); err != nil {
		return nil, nil, fmt.Errorf("setting up the resync: %w", err)
	}
	return l, resynced, nil
}
