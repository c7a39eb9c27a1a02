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
func (r retention) leaves(o *v1alpha1.PrepullImage, l learned, c *census) time.Time {
	if l.UserCount > 0 || len(l.Users) == 0 || l.LastSeenTime == nil || slices.ContainsFunc(l.Users, c.inScope) {
		return time.Time{}
	}
	return l.LastSeenTime.Add(max(r.optedOut, ttlOf(o)))
}

// expires is when the time of an image that nothing uses is over. A ttl is the least that an image stays after its last use, and
// all that it stays if it was never used.
func (r retention) expires(o *v1alpha1.PrepullImage, l learned, c *census) time.Time {
	period := r.gone
	if c.displaced(l) {
		period = r.rollback
	}
	if period = max(period, ttlOf(o)); o.Spec.TTL != nil && o.Declared() {
		period = ttlOf(o)
	}
	// An object whose maker died before it wrote the status has only its creation to go by.
	since := o.CreationTimestamp.Time
	if l.LastSeenTime != nil {
		since = l.LastSeenTime.Time
	}
	return since.Add(period)
}

// ttlOf is 0 for an image that was not given an end.
func ttlOf(o *v1alpha1.PrepullImage) time.Duration {
	if o.Spec.TTL == nil {
		return 0
	}
	return o.Spec.TTL.Duration
}

// ends is when time alone takes away an image that nothing uses, where the next resync may be too late for that; zero for the
// others, which leave together.
func (r retention) ends(o *v1alpha1.PrepullImage, l learned, c *census) time.Time {
	mortal := o.Managed() || o.Spec.TTL != nil
	if leaves := r.leaves(o, l, c); mortal && !leaves.IsZero() {
		return leaves
	}
	if o.Spec.TTL == nil || l.UserCount > 0 || l.Remembered {
		return time.Time{}
	}
	return r.expires(o, l, c)
}

// retire decides about an image that no stored object references: what its status becomes, and whether the object is
// deleted instead. A declared image without a ttl is never deleted: it only forgets what its last users asked for.
func retire(o *v1alpha1.PrepullImage, c *census, keep retention, now time.Time) (learned, bool) {
	next, over := expire(o, c, keep, now)
	if keep.suspended {
		return next, false
	}
	if over && !o.Managed() && o.Spec.TTL == nil {
		return next.withDemand(workload.Demand{}), false
	}
	return next, over
}

// displaced tells whether one of the last users is there, and uses another image.
func (c *census) displaced(l learned) bool { return slices.ContainsFunc(l.Users, c.stored) }

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
	if leaves := keep.leaves(o, next, c); !leaves.IsZero() {
		if int(have.UserCount) <= len(have.Users) {
			return next, have.UserCount == 0 && !now.Before(leaves)
		}
		// The users that the status does not name may be in scope: only time can tell.
		next.Users = nil
	}
	over := have.UserCount == 0 && !now.Before(keep.expires(o, next, c))
	next.Remembered = over && (o.Managed() || o.Spec.TTL != nil) && !c.displaced(next) && next.habitual(now)
	return next, over && !next.Remembered
}
