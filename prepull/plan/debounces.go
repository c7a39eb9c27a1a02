package plan

import (
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/kube-prepull/kube-prepull/api/clock"
	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// Debounces are those of the classes: a change restarts the pods of its class alone, so what holds one back delays no other. They are
// ready when they have clocks.
type Debounces struct {
	Clocks clock.Clocks

	of map[string]*Debounce
}

// Waits are how long the changes of classes have to wait still, by class; one that may be written is not in it.
type Waits map[string]time.Duration

// Wait finds the changes that have to wait. Classes that are gone are forgotten.
func (d *Debounces) Wait(classes []*ClassPlan, now time.Time) Waits {
	of, waits := make(map[string]*Debounce, len(classes)), Waits{}
	for _, cp := range classes {
		if of[cp.Name] = d.of[cp.Name]; of[cp.Name] == nil {
			of[cp.Name] = &Debounce{Clocks: d.Clocks}
		}
		if wait := of[cp.Name].Wait(cp.Reasons, cp.Joining, now); wait > 0 {
			waits[cp.Name] = wait
		}
	}
	d.of = of
	return waits
}

// Done notes that DaemonSets were written or removed.
func (d *Debounces) Done(written []*appsv1.DaemonSet, now time.Time) {
	for _, ds := range written {
		if class := d.of[classOf(ds)]; class != nil && class.pending != (reasons{}) {
			class.Done(now)
		}
	}
}

// Gathering tells whether changes are gathered that are no images which fail, and are about to be written. What waits longer, as for
// nodes that join, is not.
func (d *Debounces) Gathering(waits Waits) bool {
	for class, wait := range waits {
		if d.of[class].pending.Ordinary && wait <= d.Clocks.MinGap {
			return true
		}
	}
	return false
}

// Due are those of some DaemonSets that do not wait.
func (w Waits) Due(daemonSets []*appsv1.DaemonSet) []*appsv1.DaemonSet {
	return slices.DeleteFunc(slices.Clone(daemonSets), func(ds *appsv1.DaemonSet) bool { return w[classOf(ds)] > 0 })
}

// Shortest of the waits; 0 if there is none.
func (w Waits) Shortest() time.Duration {
	shortest := time.Duration(0)
	for _, wait := range w {
		if shortest == 0 || wait < shortest {
			shortest = wait
		}
	}
	return shortest
}

// classOf a prepull DaemonSet is the name of its class.
func classOf(ds *appsv1.DaemonSet) string { return ds.Labels[v1alpha1.LabelNodeClass] }
