// Package audit makes Events of what is wrong with pins: tags that could not be resolved, pods that run a tag in spite of
// their pin, and digests that a registry does not have any more.
package audit

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/manager"
)

// Options of an audit.
type Options struct {
	// Namespace is the manager's own; nothing is pinned there.
	Namespace string

	// Interval is how often all pods are looked at, and Pending how often those that have not started.
	Interval, Pending time.Duration
}

// SetupWithManager adds the audit to a manager. Tags that could not be resolved go to the function that it returns.
func SetupWithManager(mgr ctrl.Manager, o Options, registry prometheus.Registerer) (report func(Unpinned), err error) {
	events, err := newRecorder(mgr.GetClient(), registry)
	if err != nil {
		return nil, err
	}
	r := newReporter(mgr.GetClient(), mgr.GetAPIReader(), events, mgr.GetLogger().WithName("reporter"))
	a := &auditor{
		namespaces: mgr.GetClient(), live: mgr.GetAPIReader(), own: o.Namespace,
		interval: o.Interval, pending: o.Pending, recorder: events, log: mgr.GetLogger().WithName("auditor"),
		recorded: map[findingKey]time.Time{},
	}
	for _, runnable := range []manager.Runnable{r, a} {
		if err := mgr.Add(runnable); err != nil {
			return nil, fmt.Errorf("adding to the manager: %w", err)
		}
	}
	return r.Report, nil
}
