package learn

import (
	"maps"
	"slices"
	"time"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// change is one thing that a resync puts right.
type change struct {
	image string
	// object is the PrepullImage as it was when the resync began; nil if it has to be made.
	object *v1alpha1.PrepullImage
	// retire deletes the object; otherwise want is what its status becomes.
	retire bool
	want   learned
}

// merge is the status of an image that the plan took for new: the learner may have been faster, and may know users
// that came after the census.
func (c change) merge(have learned) learned {
	if have.equal(learned{}) {
		return c.want
	}
	for _, u := range c.want.Users {
		have = have.withUse(u, c.want.demand(), c.want.LastSeenTime.Time)
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
	return next, true
}

// planResync compares the PrepullImages, as they were before the census began, with the census. Carrying the changes
// out and planning again gives no change. A partial census adds users and images, and takes nothing away.
func planResync(images []v1alpha1.PrepullImage, c *census, keep retention, now time.Time) []change {
	known, declared := map[string]bool{}, map[string]bool{}
	for i := range images {
		known[images[i].Spec.Image] = true
		declared[images[i].Spec.Image] = declared[images[i].Spec.Image] || !images[i].Managed()
	}
	forget := forgotten(images, now)
	var changes []change
	for i := range images {
		o := &images[i]
		// A person has declared an image that was learned before: one object is enough.
		if o.Managed() && declared[o.Spec.Image] && !c.partial {
			changes = append(changes, change{image: o.Spec.Image, object: o, retire: true})
			continue
		}
		want, gone := planOne(o, c, keep, now)
		gone = gone || want.Remembered && forget[o.Name] && !c.partial
		if gone || !want.equal(learnedOf(o.Status)) {
			changes = append(changes, change{image: o.Spec.Image, object: o, retire: gone, want: want})
		}
	}
	for _, image := range slices.Sorted(maps.Keys(c.users)) {
		if !known[image] {
			changes = append(changes, change{image: image, want: learned{}.withUsers(c.usersOf(image), c.demandOf(image), now)})
		}
	}
	return changes
}

// planOne decides about one stored PrepullImage: its status after the census, and whether it goes.
func planOne(o *v1alpha1.PrepullImage, c *census, keep retention, now time.Time) (learned, bool) {
	have, users, asked := learnedOf(o.Status), c.usersOf(o.Spec.Image), c.demandOf(o.Spec.Image)
	switch {
	case c.partial:
		for _, u := range users {
			have = have.withUse(u, asked, now)
		}
		return have, false
	case len(users) == 0:
		return retire(o, c, keep, now)
	}
	return have.withUsers(users, asked, now), false
}
