package learn

import (
	"maps"
	"slices"
	"time"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// change is one thing that a resync puts right.
type change struct {
	image string
	// object is the PrepullImage as it was when the resync began; nil if it has to be made.
	object *v1alpha1.PrepullImage
	// retire deletes the object; otherwise want is what its status becomes.
	retire bool
	want   learned
	// inherits are the starts of an image that goes, and that this one has taken the place of; nil if there is none.
	inherits *v1alpha1.Starts
}

// merge is the status of an image that the plan took for new: the learner may have been faster, and may know users
// that came after the census.
func (c change) merge(have learned) learned {
	if have.equal(learned{}) {
		return c.want
	}
	for _, u := range c.want.Users {
		if u.Runs == "" {
			have = have.withUse(u, c.want.demand(), c.want.LastSeenTime.Time)
		}
	}
	return have
}

// replace is the status of a known image, false if its users, or what they ask for, are not what the plan knew. Starts are counted
// without the resync.
func (c change) replace(have learned) (learned, bool) {
	planned := learnedOf(c.object.Status)
	planned.Starts = have.Starts
	if !planned.equal(have) {
		return have, false
	}
	next := c.want
	next.Starts = have.Starts
	if c.inherits != nil && c.inherits.At(c.inherits.Time.Time) > have.Starts.At(c.inherits.Time.Time) {
		next.Starts = c.inherits
	}
	return next, true
}

// planResync compares the PrepullImages, as they were before the census began, with the census. Carrying the changes
// out and planning again gives no change. A census that is not whole tells about the namespaces that were read, and deletes nothing.
// Again is when time alone changes the plan, zero if the usual interval is soon enough.
func planResync(images []v1alpha1.PrepullImage, c *census, keep retention, now time.Time) (changes []change, again time.Time) {
	known, declared := map[string]bool{}, map[string]bool{}
	for i := range images {
		known[images[i].Spec.Image] = true
		lasting := !images[i].Managed() && images[i].Spec.TTL == nil
		declared[images[i].Spec.Image] = declared[images[i].Spec.Image] || lasting
	}
	forget := forgotten(images, now)
	var stay, leave []change
	for i := range images {
		o := &images[i]
		// A person has declared for good an image that was learned before: one object is enough.
		if o.Managed() && declared[o.Spec.Image] && c.whole() {
			changes = append(changes, change{image: o.Spec.Image, object: o, retire: true})
			continue
		}
		want, gone := planOne(o, c, keep, now)
		gone = gone || want.Remembered && forget[o.Name] && c.whole() && !keep.suspended
		if planned := (change{image: o.Spec.Image, object: o, retire: gone, want: want}); gone {
			leave = append(leave, planned)
		} else {
			stay = append(stay, planned)
		}
		if due := keep.ends(o, want, c); !gone && !keep.suspended && !due.IsZero() && (again.IsZero() || due.Before(again)) {
			again = due
		}
	}
	passOn(leave, stay, now)
	for _, planned := range stay {
		if planned.inherits != nil || !planned.want.equal(learnedOf(planned.object.Status)) {
			changes = append(changes, planned)
		}
	}
	changes = append(changes, leave...)
	for _, image := range slices.Sorted(maps.Keys(c.users)) {
		if !known[image] {
			changes = append(changes, change{image: image, want: learned{}.withUsers(c.usersOf(image, nil), c.demandOf(image), now)})
		}
	}
	return changes, again
}

// planOne decides about one stored PrepullImage: its status after the census, and whether it goes.
func planOne(o *v1alpha1.PrepullImage, c *census, keep retention, now time.Time) (learned, bool) {
	have := learnedOf(o.Status)
	users, asked := c.usersOf(o.Spec.Image, have.Users), c.demandOf(o.Spec.Image)
	if !c.whole() {
		return have.afterPart(c, users, asked, now), false
	}
	if len(users) == 0 {
		return retire(o, c, keep, now)
	}
	return have.withUsers(users, asked, now), false
}

// afterPart is l after a census of some namespaces, which has these users: those of the other ones are as they were. Where
// the status does not name all, nobody is taken away.
func (l learned) afterPart(c *census, users []v1alpha1.User, d workload.Demand, now time.Time) learned {
	if int(l.UserCount) > inUse(l.Users) {
		for _, u := range users {
			if u.Runs == "" {
				l = l.withUse(u, d, now)
			}
		}
		return l
	}
	for _, u := range l.Users {
		if c.inScope(u) && !c.read[u.Namespace] && (l.UserCount > 0 || u.Runs != "") && userIn(users, u) < 0 {
			users = append(users, u)
			d = l.demand().Plus(d)
		}
	}
	if len(users) == 0 {
		return l.withoutUsers(now)
	}
	slices.SortFunc(users, compareUsers)
	return l.withUsers(users, d, now)
}
