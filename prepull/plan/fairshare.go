package plan

import (
	"maps"
	"slices"
	"strings"
)

// distribution is how a budget is given to images.
type distribution struct {
	budget
	used  budget
	taken map[*ClassImage]bool
}

// tenant is a namespace that wants images on the nodes.
type tenant struct {
	namespace string

	// wants are the places in the ranking of the images that the namespace uses, best first.
	wants []int

	// got is what was taken for the namespace. An image of several namespaces is taken for one and free for the others.
	got budget
}

// distribute gives a budget to images in the order of their rank, and returns those that got a place. Declared ones go
// first, then those in use, then those that are kept. Of what is left, each of n namespaces gets an nth if it wants as much, so
// that no namespace can push the images of another one off the nodes; the rest goes, image by image, to the namespace that has
// got the least. What does not fit is passed over, so nothing is left out that there is still room for.
func distribute(ranked []*ClassImage, b budget) map[*ClassImage]bool {
	d := distribution{budget: b, taken: map[*ClassImage]bool{}}
	for _, c := range ranked {
		if c.declared && d.fits(d.used, c.Candidate) {
			d.take(c)
		}
	}
	for _, inUse := range []bool{true, false} {
		left := budget{images: b.images - d.used.images, bytes: b.bytes - d.used.bytes}
		tenants := tenantsOf(ranked, inUse, left)
		d.giveShares(ranked, tenants, left)
		for d.giveOne(ranked, tenants, left) {
		}
	}
	return d.taken
}

func (d *distribution) take(c *ClassImage) {
	d.taken[c] = true
	d.used = d.used.plus(c.Candidate)
}

// tenantsOf are the namespaces of learned images that there is room for, by name: of those in use, or of the others. Images without a namespace are
// together those of one that has no name.
func tenantsOf(ranked []*ClassImage, inUse bool, left budget) []*tenant {
	byName := map[string]*tenant{}
	for i, c := range ranked {
		if c.declared || c.inUse != inUse || !left.fits(budget{}, c.Candidate) {
			continue
		}
		namespaces := c.namespaces
		if len(namespaces) == 0 {
			namespaces = []string{""}
		}
		for _, namespace := range namespaces {
			if byName[namespace] == nil {
				byName[namespace] = &tenant{namespace: namespace}
			}
			byName[namespace].wants = append(byName[namespace].wants, i)
		}
	}
	return slices.SortedFunc(maps.Values(byName), func(a, b *tenant) int { return strings.Compare(a.namespace, b.namespace) })
}

// giveShares gives each namespace its images, best first, as long as they fit into its share.
func (d *distribution) giveShares(ranked []*ClassImage, tenants []*tenant, left budget) {
	for _, t := range tenants {
		share := budget{images: left.images / len(tenants), bytes: left.bytes / int64(len(tenants))}
		for _, i := range t.wants {
			if c := ranked[i]; !d.taken[c] && share.fits(t.got, c.Candidate) {
				d.take(c)
				t.got = t.got.plus(c.Candidate)
			}
		}
	}
}

// giveOne gives one more image to the namespace with the smallest dominant share that wants one which fits. It returns
// false if there is none.
func (d *distribution) giveOne(ranked []*ClassImage, tenants []*tenant, left budget) bool {
	var next *tenant
	for _, t := range tenants {
		// What is taken or does not fit now never comes into question again.
		for len(t.wants) > 0 && (d.taken[ranked[t.wants[0]]] || !d.fits(d.used, ranked[t.wants[0]].Candidate)) {
			t.wants = t.wants[1:]
		}
		if len(t.wants) > 0 && (next == nil || t.before(next, left)) {
			next = t
		}
	}
	if next == nil {
		return false
	}
	c := ranked[next.wants[0]]
	d.take(c)
	next.got = next.got.plus(c.Candidate)
	return true
}

// before tells whether a namespace has got less than another one, or as much and wants the better image.
func (t *tenant) before(other *tenant, left budget) bool {
	mine, theirs := left.dominantShare(t.got), left.dominantShare(other.got)
	return mine < theirs || mine == theirs && t.wants[0] < other.wants[0]
}
