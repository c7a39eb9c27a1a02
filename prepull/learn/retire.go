package learn

import (
	"slices"
	"time"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// retention is how long an image stays that no stored object references.
type retention struct {
	// gone is for an image whose users are all gone, such as finished pods.
	gone time.Duration
	// rollback is for an image that a rollout displaced: a user of it is still there and may be rolled back.
	rollback time.Duration
	// optedOut is for an image whose last users are in namespaces that are not opted in any more: somebody may have taken the label
	// off to put it on again.
	optedOut time.Duration
	// suspended is set while nobody knows what time it is: then no image goes.
	suspended bool
}

// leaves is when an image goes because its last users opted out, zero if they did not.
func (r retention) leaves(l learned, c *census) time.Time {
	if l.UserCount > 0 || len(l.Users) == 0 || l.LastSeenTime == nil || slices.ContainsFunc(l.Users, c.inScope) {
		return time.Time{}
	}
	return l.LastSeenTime.Add(r.optedOut)
}

// retire decides about an image that no stored object references: what its status becomes, and whether the object is
// deleted instead. A declared image is never deleted: it only forgets what its last users asked for.
func retire(o *v1alpha1.PrepullImage, c *census, keep retention, now time.Time) (learned, bool) {
	next, over := expire(o, c, keep, now)
	if keep.suspended {
		return next, false
	}
	if over && !o.Managed() {
		return next.withDemand(workload.Demand{}), false
	}
	return next, over
}

// inScope tells whether a user is in an opted-in namespace.
func (c *census) inScope(u v1alpha1.User) bool {
	_, in := c.namespaces[u.Namespace]
	return in
}

// expire is the status of an image that no stored object references, and whether its time is over. That is soon when
// none of its last users is in a namespace that is still opted in, otherwise when its retention is over; but not as long
// as its status says that it is in use, since it may have come back into use while the census was taken. A learned image with
// a habit is remembered then, unless its workload is there and uses another one.
func expire(o *v1alpha1.PrepullImage, c *census, keep retention, now time.Time) (learned, bool) {
	have := learnedOf(o.Status)
	next := have.withoutUsers(now)
	if leaves := keep.leaves(next, c); !leaves.IsZero() {
		if int(have.UserCount) <= len(have.Users) {
			return next, have.UserCount == 0 && !now.Before(leaves)
		}
		// The users that the status does not name may be in scope: only time can tell.
		next.Users = nil
	}
	// An object whose maker died before it wrote the status has only its creation to go by.
	since := o.CreationTimestamp.Time
	if next.LastSeenTime != nil {
		since = next.LastSeenTime.Time
	}
	period := keep.gone
	displaced := slices.ContainsFunc(next.Users, c.stored)
	if displaced {
		period = keep.rollback
	}
	over := have.UserCount == 0 && now.Sub(since) >= period
	next.Remembered = over && o.Managed() && !displaced && next.habitual(now)
	return next, over && !next.Remembered
}
