package prepull

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

const (
	firstBackOff = 5 * time.Minute
	maxBackOff   = 6 * time.Hour
)

// standing is what becomes of an image in the list of a class.
type standing int

const (
	// standingGood images are ordered by their worth.
	standingGood standing = iota
	// standingLast images come behind all good ones.
	standingLast
	// standingOut images are left out until their next try.
	standingOut
)

// verdict is the standing of an image in a class, and what to remember of its failures; retry is nil if it has none.
type verdict struct {
	standing standing
	retry    *v1alpha1.Retry
}

// trial is what a verdict is made from.
type trial struct {
	image *imageWarmth

	// waiting is how many nodes of the class want the image.
	waiting int

	// listed is set if the image is in the class's list now.
	listed bool

	// surge is how many nodes may be on the way to a new list at the same time.
	surge int

	// retry is what is remembered of earlier failures.
	retry *v1alpha1.Retry
}

// judge decides about an image that fails. A failing image holds up all images behind it in the list of that node, so it
// must leave; a node that is in trouble itself must not take an image from all the others. Therefore:
//
//   - A final answer, such as not found, counts at once and from any node.
//   - Any other failure counts once it is settled, and only if at least half of the nodes that have come to the
//     image fail on it. Fewer means that the nodes are to blame, and they stay blocked.
//   - An image that counts as failing is left out until its next try: after 5 minutes, twice as long after each further
//     failure, 6 hours at most. Then it is the last of the list.
//   - Only if at least as many nodes have the image as fail on it, it stays, as the last of the list: nothing waits
//     behind it, and the copies on the nodes that have it stay protected from deletion. The failing nodes must leave
//     half of the surge free, or the next list would not get through.
//   - It is forgiven when every node that wants it has run it.
//
// Pods that are older than half of the back-off are not asked: they ran into the failure that is already known.
func judge(class string, t trial, now time.Time) verdict {
	var blocked, holders int
	final := false
	for _, f := range t.image.failed {
		if f.settled && (t.retry == nil || f.since.After(t.retry.Time.Add(-backOff(t.retry.Failures)/2))) {
			blocked++
			final = final || f.final
		}
	}
	for node := range t.image.ran {
		if _, failed := t.image.failed[node]; !failed {
			holders++
		}
	}
	due := t.retry == nil || !now.Before(t.retry.Time.Time)
	if due && blocked > 0 && (final || blocked >= holders+len(t.image.pulling)) {
		failures := int32(1)
		if t.retry != nil {
			failures += t.retry.Failures
		}
		return verdict{t.inOrOut(holders), &v1alpha1.Retry{
			NodeClass: class,
			Failures:  failures,
			Time:      metav1.NewTime(now.Add(backOff(failures)).Truncate(time.Second)),
		}}
	}
	switch {
	case t.retry == nil:
		return verdict{standingGood, nil}
	case t.waiting > 0 && holders == t.waiting:
		return verdict{standingGood, nil}
	case due:
		return verdict{standingLast, t.retry}
	default:
		return verdict{t.inOrOut(holders), t.retry}
	}
}

// inOrOut is the standing of an image that is known to fail. One that has left the list does not come back before its
// time, whatever its last pods say.
func (t trial) inOrOut(holders int) standing {
	failing := len(t.image.failed)
	if t.listed && holders >= failing && 2*failing <= t.surge {
		return standingLast
	}
	return standingOut
}

// backOff after a number of failures in a row, 1 at least.
func backOff(failures int32) time.Duration {
	wait := firstBackOff
	for range failures - 1 {
		if wait *= 2; wait >= maxBackOff {
			return maxBackOff
		}
	}
	return wait
}
