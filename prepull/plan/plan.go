// Package plan decides what is written so that the images that are worth it are on the nodes: which images have a place in
// which class of nodes, what fails, what comes first, when prepull pods are replaced, and when a node is untainted. It has no
// client and no clock: an equal state gives an equal plan.
package plan

import (
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/nodeclass"
	"github.com/kube-prepull/kube-prepull/prepull/warmth"
)

// State is everything that a plan depends on, besides the options and the time. It is only read.
type State struct {
	Images     []v1alpha1.PrepullImage
	Nodes      []corev1.Node
	Pods       []*corev1.Pod
	DaemonSets []*appsv1.DaemonSet

	// Accepted are the hashes of the DaemonSet specs that the API server made of what was written last, by name.
	Accepted map[string]string

	// Refused are the words with which the API server refused to write a DaemonSet, by name.
	Refused map[string]string

	// RefusedPods are those with which it refuses the pods of a DaemonSet, by its name.
	RefusedPods map[string]string

	// NoImageVolumes is set if the API server drops image volumes, or a policy refuses pods that have some.
	NoImageVolumes bool

	// RuntimeClasses are what those that exist ask of nodes.
	RuntimeClasses nodeclass.RuntimeClasses

	// Mirrored are the nodes whose mirror is ready. It is read only while a prepull pod waits for it.
	Mirrored map[string]bool

	// Held is since when the manager knows that a node is held, by its UID.
	Held map[types.UID]time.Time

	// Pulls is what is known of pull secrets.
	Pulls Pulls
}

// DaemonSet is the stored one with a name, nil if there is none.
func (s *State) DaemonSet(name string) *appsv1.DaemonSet {
	for _, ds := range s.DaemonSets {
		if ds.Name == name {
			return ds
		}
	}
	return nil
}

// Plan is what has to be written so that the cluster is as it should be. There is nothing in it for what is so already.
type Plan struct {
	// Roll are the DaemonSets that are missing or get another list, as they should be.
	Roll []*appsv1.DaemonSet

	// DeleteEmpty are the DaemonSets of lanes without images.
	DeleteEmpty []*appsv1.DaemonSet

	// UpdateInPlace are DaemonSets, as they should be, whose pods are left alone where they may stay, and those of classes
	// that are new.
	UpdateInPlace []*appsv1.DaemonSet

	// DeleteOrphaned are the DaemonSets of classes that are gone.
	DeleteOrphaned []*appsv1.DaemonSet

	// DeletePods are prepull pods that have to leave a node.
	DeletePods []*corev1.Pod

	// LacksPods is set if a node has no prepull pod with the list of its DaemonSet.
	LacksPods bool

	// Skips are prepull pods that go on without an image.
	Skips []Skip

	// Ungate are prepull pods that have waited for the mirror of their node, and need no longer.
	Ungate []*corev1.Pod

	// Releases are the nodes that are untainted, and Conditions those that are written, the urgent ones first.
	Releases   []Release
	Conditions []ConditionChange

	// Quarantined are the images that leave a list, or go to its end, because they were found to fail.
	Quarantined []string

	// Statuses are those that differ, by the name of the object.
	Statuses []StatusChange

	// ignored tells why an image may be on more nodes than need it, and nowhere why one has a use on none.
	ignored nodeclass.IgnoredWords
	nowhere map[*Candidate]string

	// Next is when time alone changes the plan; zero if it does not.
	Next time.Time

	// spelled finds the candidate that stands for several spellings of an image.
	spelled map[*Candidate]*Candidate

	// unwanted are the images that the configuration leaves out, and those that are only remembered.
	unwanted map[*Candidate]skip

	// Classes is how far each class is.
	Classes []*ClassPlan
}

// ClassPlan is the plan for one class of nodes.
type ClassPlan struct {
	*nodeclass.Class
	Warmth *warmth.Warmth

	// Images are those with a use in the class, by name, and of finds that of a candidate.
	Images []*ClassImage
	of     map[*Candidate]*ClassImage

	// withheld are those with a use in the class that are left out of it, since their pull secrets may not be there.
	withheld map[*Candidate]bool

	// budget is what a node of the class has room for.
	budget budget

	// lanes are those that its images are pulled in, and List are the images in the lists of all, in order.
	lanes []*lane
	List  []entry

	// hot are the images that a node must have before it is called warm, best first, and oversized is how many are too large
	// for that.
	hot       []*ClassImage
	oversized int

	// quarantined are its images that were found to fail.
	quarantined []string

	// Reasons are why one of its DaemonSets gets another list or is removed, and Joining are its nodes that join, by name.
	Reasons reasons
	Joining map[string]Joining

	// next is when time alone changes the decision; zero if it does not.
	next time.Time
}

// Make decides, in this order: where an image is of use (placeOn), what fails (judgeAll), which images are worth a place
// (choose), what is pulled side by side (deal), what comes first (order), what rolls (planDaemonSet), and which nodes are untainted (planNodes). Equal input gives an equal plan.
func Make(s State, o Options, now time.Time) Plan {
	o.NoopFolder = folderOf(s.DaemonSets, o.NoopFolder)
	found, invalid := candidates(s.Images, now)
	for _, c := range found {
		c.access = s.Pulls.Access(c)
		c.resolve(s.RuntimeClasses)
	}
	stored := map[string]*appsv1.DaemonSet{}
	for _, ds := range s.DaemonSets {
		stored[ds.Name] = ds
	}
	p := Plan{}
	wanted, leftOut := p.leaveOut(found, o, now)
	wanted, p.spelled = mergeSpellings(wanted, s.spellingsListed(), s.Pulls)
	awaitGuards(wanted, s.Pulls)
	classified := nodeclass.Classify(s.Nodes, askedOf(wanted), o.MaxNodeClasses, now)
	p.lookAgainBy(classified.Next)
	p.ignored, p.nowhere = classified.IgnoredWords(o.MaxNodeClasses), whyNowhere(wanted, classified.WhyNowhere)
	classOf := make(map[string]string, len(s.Nodes))
	for _, c := range classified.Classes {
		for _, n := range c.Nodes {
			classOf[n.Name] = c.Name
		}
	}
	pods, former, again := podsOfGoneNodes(inOrder(s.Pods), s.Nodes, now)
	p.lookAgainBy(again)
	on, of := podsByClass(pods, classOf)
	placings, begin := placeOnAll(wanted, classified.Classes, stored, now)
	for i, c := range classified.Classes {
		// What nodes tell of the size of an image that is left out may bring it back.
		w := warmth.Observe(c.Pullable, observedImages(placings[i].placed, leftOut), on[c.Name], o.PullDeadline, now)
		lanes := lanesOf(c, stored, on[c.Name], of, o)
		able := o.ImageVolumes && !s.NoImageVolumes && c.MountsImages()
		for _, l := range lanes {
			l.division = division{able: able, still: true, busy: w.Blocked() || l.state.rolls() || l.stored != nil && !dividable(l.stored)}
			l.refused = s.refusalOf(l.name)
		}
		p.add(planLists(c, placings[i], w, lanes, begin, o, now))
	}
	p.planDaemonSets(s, o)
	changing, rolls := p.changes()
	p.planPods(changing, rolls, o, now)
	p.planMirrors(s, o.Mirror, now)
	p.DeletePods = slices.Concat(p.DeletePods, misplacedPods(pods, classOf, stored, changing), former)
	p.planNodes(s, on, o, now)
	p.Statuses = statusChanges(s.Images, found, invalid, &p, now)
	return p
}

// leaveOut tells the images that may have a place from those that the configuration leaves out, or that are only remembered.
func (p *Plan) leaveOut(found []*Candidate, o Options, now time.Time) (wanted, leftOut []*Candidate) {
	p.unwanted = unwanted(found, o)
	p.lookAgainBy(leaveMemories(found, p.unwanted, now))
	for _, c := range found {
		if _, out := p.unwanted[c]; out {
			leftOut = append(leftOut, c)
		} else {
			wanted = append(wanted, c)
		}
	}
	return wanted, leftOut
}

// add takes the plan for one more class.
func (p *Plan) add(cp *ClassPlan) {
	p.Classes = append(p.Classes, cp)
	p.Quarantined = append(p.Quarantined, cp.quarantined...)
	p.lookAgainBy(cp.next)
}

// planDaemonSets decides about the DaemonSets of all lanes of all classes.
func (p *Plan) planDaemonSets(s State, o Options) {
	planned := map[string]*rollout{}
	var rollouts []*rollout
	for _, cp := range p.Classes {
		for _, l := range cp.lanes {
			r := &rollout{ClassPlan: cp, lane: l, accepted: s.Accepted[l.name]}
			planned[l.name] = r
			p.LacksPods = p.LacksPods || l.stored != nil && len(l.list) > 0 && lacksPods(cp.Class, l.stored, l.on)
			if l.needed() {
				rollouts = append(rollouts, r)
			}
		}
	}
	divideConcurrent(rollouts, o)
	for _, r := range rollouts {
		p.planDaemonSet(r, len(s.DaemonSets) > 0, o)
	}
	p.planRemovals(s.DaemonSets, planned)
}

// changes are the DaemonSets that are written or removed, and those that roll, by name.
func (p *Plan) changes() (changing, rolls map[string]bool) {
	changing, rolls = map[string]bool{}, map[string]bool{}
	for _, ds := range slices.Concat(p.Roll, p.UpdateInPlace, p.DeleteEmpty, p.DeleteOrphaned) {
		changing[ds.Name] = true
	}
	for _, ds := range p.Roll {
		rolls[ds.Name] = true
	}
	return changing, rolls
}

// planPods decides which prepull pods leave their nodes, and which go on without an image, and finds the nodes that join.
func (p *Plan) planPods(changing, rolls map[string]bool, o Options, now time.Time) {
	for _, cp := range p.Classes {
		cp.Joining = cp.joining(rolls, now)
		for _, l := range cp.lanes {
			if !rolls[l.name] {
				p.DeletePods = append(p.DeletePods, cp.unmountable(l.on)...)
			}
			p.planSkips(cp, l, concurrentNodes(o, cp.Class), changing[l.name], now)
		}
	}
}

// planRemovals finds the DaemonSets that no lane of a class needs any more.
func (p *Plan) planRemovals(stored []*appsv1.DaemonSet, planned map[string]*rollout) {
	for _, ds := range stored {
		r := planned[ds.Name]
		switch {
		case ds.DeletionTimestamp != nil || r != nil && r.needed():
		case r == nil:
			p.DeleteOrphaned = append(p.DeleteOrphaned, ds)
		default:
			p.DeleteEmpty = append(p.DeleteEmpty, ds)
			r.Reasons.add(r.why)
		}
	}
	byName := func(a, b *appsv1.DaemonSet) int { return strings.Compare(a.Name, b.Name) }
	slices.SortFunc(p.DeleteEmpty, byName)
	slices.SortFunc(p.DeleteOrphaned, byName)
}

// planLists plans a class. Where a list changes, other images may be held, so it is planned anew.
func planLists(c *nodeclass.Class, on placing, w *warmth.Warmth, lanes []*lane, begin int, o Options, now time.Time) *ClassPlan {
	cp := planClass(c, on.placed, w, lanes, begin, o, now)
	if cp.compare(o) {
		cp = planClass(c, on.placed, w, lanes, begin, o, now)
		cp.compare(o)
	}
	cp.withheld = on.withheld
	return cp
}

// planClass decides about one class, the images with a use in it, and its lanes. begin is as for startsEmpty.
func planClass(c *nodeclass.Class, placed []*Candidate, w *warmth.Warmth, lanes []*lane, begin int, o Options, now time.Time) *ClassPlan {
	cp := &ClassPlan{Class: c, Warmth: w, Images: classImages(placed, w, lanes), lanes: lanes, budget: budgetOf(c, o), next: w.Next}
	cp.of = make(map[*Candidate]*ClassImage, len(placed))
	for _, image := range cp.Images {
		cp.of[image.Candidate] = image
	}
	trial{c.Name, len(c.Pullable), concurrentNodes(o, c), now}.judgeAll(cp.Images, cp.budget)
	for _, image := range cp.Images {
		image.standing = cp.laneOf(image).standingOf(image)
	}
	chosen := cp.chooseFrom(cp.able(now), now)
	cp.oversized = markHot(chosen, o.Gate.MaxBytes)
	for _, image := range chosen {
		if image.hot {
			cp.hot = append(cp.hot, image)
		}
	}
	deal(chosen, max(1, o.PullsPerNode))
	for _, l := range lanes {
		l.list = order(cp.entriesOf(l, chosen), l.current)
		heldFirst(l.list)
		followTags(l.list, l.current)
		cp.startEmpty(l, begin, o, now)
		cp.List = append(cp.List, l.list...)
	}
	return cp
}

// able are the images of a class that may be in its list.
func (cp *ClassPlan) able(now time.Time) []*ClassImage {
	able := make([]*ClassImage, 0, len(cp.Images))
	for _, image := range cp.Images {
		if image.found {
			cp.quarantined = append(cp.quarantined, image.image)
		}
		if image.standing != standingOut {
			able = append(able, image)
		} else if due := image.retry.Time; due.After(now) {
			cp.lookAgainBy(due.Time)
		}
	}
	return able
}

// chooseFrom chooses among the images that may be in the list of a class. One that fails and is displaced waits for its
// next try like one that left at once, and the choice is made anew without it, as it will be then.
func (cp *ClassPlan) chooseFrom(able []*ClassImage, now time.Time) []*ClassImage {
	for {
		chosen, left, over := choose(able, cp.budget)
		displaced := map[*ClassImage]bool{}
		for _, image := range left {
			if image.standing == standingLast && image.retry.Time.After(now) {
				image.standing, displaced[image] = standingOut, true
				cp.lookAgainBy(image.retry.Time.Time)
			}
		}
		if len(displaced) == 0 {
			for i, image := range left {
				image.over = over[i]
			}
			if len(left) > 0 {
				cp.lookAgainBy(forecastChanges(able, now))
			}
			return chosen
		}
		able = slices.DeleteFunc(slices.Clone(able), func(image *ClassImage) bool { return displaced[image] })
	}
}
