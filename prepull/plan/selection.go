package plan

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/nodeclass"
	"github.com/kube-prepull/kube-prepull/prepull/warmth"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// incumbentBonus is what the starts of an image that is on the nodes are multiplied with. Without it two images of
// about the same rank would take each other's place with every flush of their starts, and each time the whole class
// would get a new list.
const incumbentBonus = 2

// maxChoices is how many times a choice is made in a row at most. Nearly always the first one stays as it is.
const maxChoices = 10

// Candidate is an image string that may be pulled, with all the objects that ask for it.
type Candidate struct {
	// Name of the init container: the ObjectName of the image.
	Name  string
	image string

	objects  []*v1alpha1.PrepullImage
	declared bool

	// inUse is set if somebody uses it now, or a person wants it. Others are kept for a rollback, or for a while.
	inUse bool

	// starts are what they are worth now.
	starts float64
	since  time.Time

	// remembered is set if nobody has used it for longer than it is kept.
	remembered bool

	// versions are what other versions of it have, too.
	versions workload.Versions

	// Size in bytes: what a node reports, before that what the registry says; 0 if neither is known.
	Size int64

	// priority is what the workloads ask for, and autoscaled is set if one of them is scaled by load.
	priority   int32
	autoscaled bool

	// need is how much a node needs the image before it is called warm.
	need workload.Need

	// namespaces of the users, sorted; none of a declared image that nobody uses.
	namespaces []string

	// placements are where users may run, and refusals why pods of some can start nowhere, sorted.
	placements []v1alpha1.Placement
	refusals   []string

	// PullSecrets are what the image is pulled with, sorted.
	PullSecrets []v1alpha1.SecretReference

	// access is what has come of them.
	access Access

	// alwaysPull is set if the image is pulled at every start, and digest is what its tag then pointed to last.
	alwaysPull bool
	digest     string

	// canonical is the name under which nodes report the image, and pulledAs what kubelets take for the same.
	canonical, pulledAs string
}

// candidates returns the images to choose from, by name, and for each object that cannot be one the reason in words.
func candidates(images []v1alpha1.PrepullImage, now time.Time) (found []*Candidate, invalid map[string]string) {
	byImage := map[string]*Candidate{}
	invalid = map[string]string{}
	for _, o := range declaredFirst(images) {
		if o.Managed() && o.Status.FirstSeenTime == nil {
			continue // it was made a moment ago, and who uses it where is written next
		}
		canonical, err := workload.CanonicalImage(o.Spec.Image)
		if err != nil {
			invalid[o.Name] = err.Error()
			continue
		}
		c := byImage[o.Spec.Image]
		if c == nil {
			c = &Candidate{image: o.Spec.Image, canonical: canonical, pulledAs: workload.PulledAs(o.Spec.Image, canonical), since: o.CreationTimestamp.Time, need: workload.Optional}
			byImage[o.Spec.Image] = c
			found = append(found, c)
		}
		c.add(o, now)
	}
	found = nameAll(found, invalid)
	slices.SortFunc(found, func(a, b *Candidate) int { return strings.Compare(a.Name, b.Name) })
	inheritStarts(found)
	return found, invalid
}

// nameAll gives each image the name of its container, and leaves out those that get none. An image that was learned under a
// longer name, because another one had its own, keeps it when that is free: a container that is renamed restarts pods.
func nameAll(images []*Candidate, invalid map[string]string) []*Candidate {
	taken := map[string]bool{}
	return slices.DeleteFunc(images, func(c *Candidate) bool {
		name, free := workload.FreeName(c.image, taken)
		for _, o := range c.objects {
			if o.Managed() && o.Name != name && !taken[o.Name] && slices.Contains(workload.ObjectNames(c.image), o.Name) {
				name = o.Name
			}
		}
		if !free {
			for _, o := range c.objects {
				invalid[o.Name] = "other images have its names"
			}
			return true
		}
		c.Name, taken[name] = name, true
		return false
	})
}

// askedOf is what images ask of nodes. What a person declares is as of a namespace without a name.
func askedOf(images []*Candidate) []nodeclass.Image {
	asked := make([]nodeclass.Image, len(images))
	for i, c := range images {
		asked[i] = nodeclass.Image{Placements: c.placements, Namespaces: c.namespaces, PullSecrets: c.PullSecrets}
		if c.declared {
			asked[i].Namespaces = append([]string{""}, c.namespaces...)
		}
	}
	return asked
}

// placeOn returns those of the images with a use in a class; they are the ones that the classes were made for. An image that
// needs a pull secret is placed only where one of its Secrets may be, and withheld otherwise.
func placeOn(images []*Candidate, c *nodeclass.Class) (placed []*Candidate, withheld map[*Candidate]bool) {
	withheld = map[*Candidate]bool{}
	for i, image := range images {
		switch {
		case !c.Fits(i):
		case len(image.access.copies) > 0 && len(image.access.copiesIn(c)) == 0:
			withheld[image] = true
		default:
			placed = append(placed, image)
		}
	}
	return placed, withheld
}

// observedImages are images as nodes report them.
func observedImages(lists ...[]*Candidate) []warmth.ImageName {
	count := 0
	for _, list := range lists {
		count += len(list)
	}
	images := make([]warmth.ImageName, 0, count)
	for _, list := range lists {
		for _, c := range list {
			images = append(images, warmth.ImageName{Name: c.Name, Canonical: c.canonical, Digest: c.contents()})
		}
	}
	return images
}

// contents is the digest of the image, empty if it is not known.
func (c *Candidate) contents() string {
	if _, digest, pinned := strings.Cut(c.image, "@"); pinned {
		return digest
	}
	return c.digest
}

// declaredFirst sorts objects so that a declared one speaks for its image, and the result does not depend on the order
// of a list.
func declaredFirst(images []v1alpha1.PrepullImage) []*v1alpha1.PrepullImage {
	var declared, learned []*v1alpha1.PrepullImage
	for i := range images {
		if o := &images[i]; o.Declared() {
			declared = append(declared, o)
		} else {
			learned = append(learned, o)
		}
	}
	byName := func(a, b *v1alpha1.PrepullImage) int { return strings.Compare(a.Name, b.Name) }
	slices.SortFunc(declared, byName)
	slices.SortFunc(learned, byName)
	return append(declared, learned...)
}

// add takes one more object that asks for the image into account: the image is wanted wherever one of them wants it.
func (c *Candidate) add(o *v1alpha1.PrepullImage, now time.Time) {
	if len(c.objects) == 0 || o.Status.Priority > c.priority {
		c.priority = o.Status.Priority
	}
	c.objects = append(c.objects, o)
	c.inUse = c.inUse || o.Declared() || o.Status.UserCount > 0
	c.need = max(c.need, needFor(o))
	c.remembered = o.Status.Remembered && !c.inUse
	c.starts += startsWorth(o.Status.Starts, now)
	c.Size = max(c.Size, cmp.Or(o.Status.SizeBytes, o.Status.DownloadBytes))
	c.autoscaled = c.autoscaled || o.Status.Autoscaled
	c.alwaysPull = c.alwaysPull || o.Status.AlwaysPull
	c.digest = cmp.Or(c.digest, o.Status.Digest)
	for _, u := range o.Status.Users {
		c.namespaces = append(c.namespaces, u.Namespace)
	}
	slices.Sort(c.namespaces)
	c.namespaces = slices.Compact(c.namespaces)
	c.placements = append(c.placements, o.Status.Placements...)
	if !o.Declared() && len(o.Status.Placements) == 0 {
		c.placements = append(c.placements, v1alpha1.Placement{})
	}
	c.PullSecrets = append(c.PullSecrets, o.Status.PullSecrets...)
	if o.Declared() {
		c.declared = true
		c.placements = append(c.placements, o.Spec.Placement())
		c.PullSecrets = append(c.PullSecrets, o.Spec.ImagePullSecrets...)
	}
	slices.SortFunc(c.PullSecrets, workload.CompareSecrets)
	c.PullSecrets = slices.Compact(c.PullSecrets)
	if t := o.Status.FirstSeenTime; t != nil && t.Time.Before(c.since) {
		c.since = t.Time
	}
}

// retryIn is what is remembered of failures of the image in a class, nil if it does not fail there.
func (c *Candidate) retryIn(class string) *v1alpha1.Retry {
	for _, o := range c.objects {
		for i := range o.Status.Retries {
			if o.Status.Retries[i].NodeClass == class {
				return &o.Status.Retries[i]
			}
		}
	}
	return nil
}

// skip is why an image has no place on the nodes.
type skip struct {
	// reason in a word, empty if the image has a place.
	reason string

	// why is the same for people. It stays as it is while nothing happens to the image itself, other than detail, which
	// comes behind it: how many others go before.
	why, detail string
}

// The reasons for which images are skipped.
const (
	SkippedOverBudget = "OverBudget"
	SkippedExcluded   = "Excluded"
	SkippedReplaced   = "Replaced"
	SkippedTooSmall   = "TooSmall"
	SkippedRemembered = "Remembered"
	skippedNoNodes    = "NoNodes"
	skippedWithheld   = "SecretWithheld"
	skippedInvalid    = "InvalidImage"
)

// choose returns the images that are worth a part of the budget on the nodes of a class, best first, and those that are
// not, with the reason for each. If all fit, all are chosen.
//
// What is on the nodes already ranks higher for it, so a choice may lead to another one once it is carried out. It is
// followed until it stays as it is, so that choosing again changes nothing.
func choose(able []*ClassImage, b budget) (chosen, left []*ClassImage, over []skip) {
	incumbent := map[*ClassImage]bool{}
	for _, image := range able {
		if image.listed {
			incumbent[image] = true
		}
	}
	ranked := rank(able, incumbent)
	if b.fitsAll(ranked) {
		return ranked, nil, nil
	}
	for range maxChoices {
		taken := distribute(ranked, b)
		if maps.Equal(taken, incumbent) {
			break
		}
		incumbent = taken
		ranked = rank(able, incumbent)
	}
	var used budget
	for _, image := range ranked {
		if incumbent[image] {
			chosen, used = append(chosen, image), used.plus(image.Candidate)
		} else {
			left = append(left, image)
		}
	}
	last := ""
	if len(chosen) > 0 {
		last = chosen[len(chosen)-1].image
	}
	return chosen, left, b.leaveOut(left, used, last)
}

// rank sorts images by what they are worth: declared ones before learned ones, those in use before those that are kept,
// working before failing ones, those of workloads that are scaled by load, a higher priority, more starts, then what is on the
// nodes: among equals nothing takes its place. One that failed and is tried again is worth what it is if it works. Then a smaller size, and the older one.
func rank(able []*ClassImage, incumbent map[*ClassImage]bool) []*ClassImage {
	sorted := make([]worth, len(able))
	there := replaceable(able, incumbent)
	for i, image := range able {
		sorted[i] = worth{image, image.failing() && !image.turn, incumbent[image] || image.inherits(there), image.starts}
		if sorted[i].there {
			sorted[i].weight *= incumbentBonus
		}
	}
	slices.SortFunc(sorted, worth.compare)
	ranked := make([]*ClassImage, len(sorted))
	for i := range sorted {
		ranked[i] = sorted[i].ClassImage
	}
	return ranked
}

// worth of an image, where there is set if it is on the nodes, or replaces one that is.
type worth struct {
	*ClassImage
	failing, there bool
	weight         float64
}

func (a worth) compare(b worth) int {
	byUse := cmp.Or(
		trueFirst(a.declared, b.declared),
		trueFirst(a.inUse, b.inUse),
		trueFirst(!a.failing, !b.failing),
		trueFirst(a.autoscaled, b.autoscaled),
		cmp.Compare(b.priority, a.priority),
		cmp.Compare(b.weight, a.weight),
		trueFirst(a.there, b.there),
	)
	if byUse != 0 {
		return byUse
	}
	return cmp.Or(cmp.Compare(a.bytes(), b.bytes()), a.since.Compare(b.since), strings.Compare(a.Name, b.Name))
}

func trueFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	default:
		return 1
	}
}
