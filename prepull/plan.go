package prepull

import (
	"cmp"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// state is everything that a plan depends on, besides the options and the time. It is only read.
type state struct {
	images     []v1alpha1.PrepullImage
	nodes      []corev1.Node
	pods       []*corev1.Pod
	daemonSets []*appsv1.DaemonSet

	// accepted are the hashes of the DaemonSet specs that the API server made of what was written last, by name.
	accepted map[string]string

	// refused are the words with which the API server refused to write a DaemonSet, by name.
	refused map[string]string

	// held is since when the manager knows that a node is held, by its UID.
	held map[types.UID]time.Time

	// pulls is what is known of pull secrets.
	pulls pulls
}

// daemonSet is the stored one with a name, nil if there is none.
func (s *state) daemonSet(name string) *appsv1.DaemonSet {
	for _, ds := range s.daemonSets {
		if ds.Name == name {
			return ds
		}
	}
	return nil
}

// plan is what has to be written so that the cluster is as it should be. There is nothing in it for what is so already.
type plan struct {
	// write are the DaemonSets that are missing or get another list, as they should be.
	write []*appsv1.DaemonSet

	// remove are the DaemonSets of classes without images.
	remove []*appsv1.DaemonSet

	// move, drop and evict are changes of where prepull pods run; they restart none that stays where it is. move are
	// DaemonSets as they should be, drop are those of classes that are gone, and evict are pods that have to leave a node.
	move  []*appsv1.DaemonSet
	drop  []*appsv1.DaemonSet
	evict []*corev1.Pod

	// releases are the nodes that are let go, and conditions those of nodes that differ, the urgent ones first.
	releases   []release
	conditions []conditionChange

	// quarantined are the images that leave a list, or go to its end, because they were found to fail.
	quarantined []string

	// reasons are why something is written or removed.
	reasons reasons

	// statuses are those that differ, by the name of the object.
	statuses []statusChange

	// ignored tells why an image may be on more nodes than need it.
	ignored ignoredWords

	// next is when time alone changes the plan; zero if it does not.
	next time.Time

	// unwanted are the images that the configuration leaves out.
	unwanted map[*candidate]skip

	// classes is how far each class is.
	classes []*classPlan
}

// classPlan is the plan for one class of nodes.
type classPlan struct {
	*nodeClass
	warmth *warmth

	// verdicts are of the images with a use in the class.
	verdicts map[*candidate]verdict

	// budget is what a node of the class has room for.
	budget budget

	// over are those of the images with a verdict that the budget leaves out.
	over map[*candidate]skip

	// list are the images of the class's DaemonSet, in order.
	list []entry

	// hot are the images that a node must have before it is called warm, and oversized is how many are too large for that.
	hot       []*candidate
	oversized int

	// opening is set while the class's pods start with an empty list.
	opening bool

	// refused is why the DaemonSet of the class cannot be written, empty if it can.
	refused string
}

// makePlan decides, in this order: what fails (judge), where an image is of use (placeOn), which images are worth a place
// (choose), and what comes first (order). Equal input gives an equal plan.
func makePlan(s state, o PlanOptions, now time.Time) plan {
	found, invalid := candidates(s.images, now)
	for _, c := range found {
		c.access = s.pulls.access(c)
	}
	stored := map[string]*appsv1.DaemonSet{}
	for _, ds := range s.daemonSets {
		stored[ds.Name] = ds
	}
	left := unwanted(found, o)
	var wanted, leftOut []*candidate
	for _, c := range found {
		if _, out := left[c]; out {
			leftOut = append(leftOut, c)
		} else {
			wanted = append(wanted, c)
		}
	}
	division := classify(s.nodes, placementsOf(wanted), o.MaxNodeClasses)
	classes := division.classes
	classOf := make(map[string]string, len(s.nodes))
	for _, c := range classes {
		for _, n := range c.nodes {
			classOf[n.Name] = c.name
		}
	}
	pods, former, again := splitFormer(s.pods, s.nodes, now)
	on, of := podsByClass(pods, classOf)

	p := plan{unwanted: left, ignored: division.ignoredWords(o.MaxNodeClasses)}
	planned := map[string]*classPlan{}
	for _, c := range classes {
		name := daemonSetName(c)
		was := stored[name]
		placed := placeOn(wanted, c)
		// What nodes tell of the size of an image that is left out may bring it back.
		w := observe(c.waiting, observedImages(placed, leftOut), on[c.name], o.PullDeadline, now)
		cp := p.planClass(c, placed, w, on[c.name], was, o, now)
		cp.refused = s.refused[name]
		p.classes = append(p.classes, cp)
		planned[name] = cp
		if len(cp.list) > 0 || cp.opening {
			p.planDaemonSet(cp, was, of[c.name], len(stored) > 0, s.accepted[name], o)
		}
	}
	p.planRemovals(s.daemonSets, planned)
	changing := map[string]bool{}
	for _, ds := range slices.Concat(p.write, p.move, p.remove, p.drop) {
		changing[ds.Name] = true
	}
	p.evict = append(strays(pods, classOf, stored, changing), former...)
	p.atLatest(again)
	p.planNodes(s, on, o, now)
	p.statuses = statusChanges(s.images, found, invalid, &p, now)
	return p
}

// podsByClass sorts pods by the class of the node that they are on, and by the class that they are of.
func podsByClass(pods []*corev1.Pod, classOf map[string]string) (on, of map[string][]*corev1.Pod) {
	on, of = map[string][]*corev1.Pod{}, map[string][]*corev1.Pod{}
	for _, pod := range pods {
		class := classOf[pod.Spec.NodeName]
		on[class] = append(on[class], pod)
		class = pod.Labels[v1alpha1.LabelNodeClass]
		of[class] = append(of[class], pod)
	}
	return on, of
}

// planDaemonSet compares the DaemonSet of a class with the stored one, if there is one.
func (p *plan) planDaemonSet(cp *classPlan, stored *appsv1.DaemonSet, pods []*corev1.Pod, others bool, accepted string, o PlanOptions) {
	ds := daemonSet(cp.nodeClass, cp.list, o)
	if stored == nil {
		if others || cp.opening {
			// Nodes of a new shape do not wait, since no pod is restarted; the first image of all may have a second one.
			p.move = append(p.move, ds)
			return
		}
		p.write = append(p.write, ds)
		p.reasons.add(cp.reasons(nil))
		return
	}
	keepList(ds, stored)
	calm := settled(stored, pods)
	kept := stored.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType && !stopped(stored, pods)
	if !calm && !kept && sameList(stored, ds) && sameSurroundings(stored, ds) {
		keepUnknown(ds, stored)
	}
	if sameList(stored, ds) && (kept || calm && !(sameSurroundings(stored, ds) && sameDigests(stored, ds))) {
		keepPods(ds)
		if !upToDate(stored, ds, accepted) {
			p.move = append(p.move, ds)
		}
		return
	}
	if upToDate(stored, ds, accepted) {
		return
	}
	p.write = append(p.write, ds)
	why := cp.reasons(ListOf(stored))
	if sameList(stored, ds) {
		// Pods are only restarted because a roll does not end: that becomes rarer each time, as with images that fail.
		why = reasons{failing: true}
	}
	p.reasons.add(why)
	if calm && !sameSurroundings(stored, ds) {
		// The new list may have to wait, but no node should have two lists meanwhile.
		p.move = append(p.move, moved(stored, ds))
	}
}

// planRemovals finds the DaemonSets that no class needs any more.
func (p *plan) planRemovals(stored []*appsv1.DaemonSet, planned map[string]*classPlan) {
	for _, ds := range stored {
		cp := planned[ds.Name]
		switch {
		case ds.DeletionTimestamp != nil || cp != nil && (len(cp.list) > 0 || cp.opening):
		case cp == nil:
			p.drop = append(p.drop, ds)
		default:
			p.remove = append(p.remove, ds)
			p.reasons.add(cp.reasons(ListOf(ds)))
		}
	}
	byName := func(a, b *appsv1.DaemonSet) int { return strings.Compare(a.Name, b.Name) }
	slices.SortFunc(p.remove, byName)
	slices.SortFunc(p.drop, byName)
}

// planClass decides about one class and the images with a use in it, and adds to the plan when time alone changes the decision.
func (p *plan) planClass(c *nodeClass, placed []*candidate, w *warmth, pods []*corev1.Pod, stored *appsv1.DaemonSet, o PlanOptions, now time.Time) *classPlan {
	current := ListOf(stored)
	cp := &classPlan{
		nodeClass: c,
		warmth:    w,
		verdicts:  make(map[*candidate]verdict, len(placed)),
		budget:    budgetOf(c, o),
	}
	p.atLatest(cp.warmth.next)
	surge, err := intstr.GetScaledValueFromIntOrPercent(&o.MaxConcurrentNodes, len(c.nodes), true)
	if err != nil {
		surge = 1
	}
	able, failing := p.judgeAll(cp, placed, current, surge, now)
	chosen := p.chooseFor(cp, able, current, failing, now)
	hot, oversized := hotSet(chosen, failing, o.Gate.MaxBytes)
	cp.oversized = oversized
	entries := make([]entry, 0, len(chosen))
	for _, image := range chosen {
		if hot[image] {
			cp.hot = append(cp.hot, image)
		}
		if image.access.awaited && !inList(current, image) {
			continue // a place is kept for it until its pull secret is there
		}
		entries = append(entries, entry{
			candidate: image,
			hot:       hot[image],
			missing:   2*cp.warmth.images[image.name].ready() < len(c.waiting),
			last:      cp.verdicts[image].standing == standingLast,
			troubled:  len(cp.warmth.images[image.name].failed) > 0,
		})
	}
	cp.list = order(entries, current)
	followTags(cp.list, current)
	if len(cp.list) > 0 && opening(c, stored, pods, surge, now) {
		cp.opening, cp.list = true, nil
		if stored != nil {
			p.atLatest(stored.CreationTimestamp.Add(openingTime))
		}
	}
	return cp
}

// chooseFor chooses among the images that may be in the list of a class. One that fails and is displaced waits for its
// next try like one that left at once, and the choice is made anew without it, as it will be then.
func (p *plan) chooseFor(cp *classPlan, able []*candidate, current []corev1.Container, failing map[*candidate]bool, now time.Time) []*candidate {
	for {
		chosen, over := choose(able, current, failing, cp.budget)
		var rest []*candidate
		for _, image := range able {
			_, left := over[image]
			if v := cp.verdicts[image]; left && v.standing == standingLast && v.retry.Time.After(now) {
				cp.verdicts[image] = verdict{standing: standingOut, retry: v.retry, found: v.found}
				p.atLatest(v.retry.Time.Time)
				continue
			}
			rest = append(rest, image)
		}
		if len(rest) == len(able) {
			cp.over = over
			return chosen
		}
		able = rest
	}
}

// judgeAll judges the images with a use in the class, and returns those that may be in its list, and which of them fail.
func (p *plan) judgeAll(cp *classPlan, placed []*candidate, current []corev1.Container, surge int, now time.Time) ([]*candidate, map[*candidate]bool) {
	trials := make([]trial, 0, len(placed))
	for _, image := range placed {
		t := trial{
			candidate: image,
			image:     cp.warmth.images[image.name],
			waiting:   len(cp.waiting),
			listed:    inList(current, image),
			surge:     surge,
			retry:     image.retry(cp.name),
		}
		t.retry = t.renewed()
		trials = append(trials, t)
		cp.verdicts[image] = judge(cp.name, t, now)
	}
	mend(cp.name, trials, cp.verdicts, now)
	takeTurns(cp.verdicts)
	able := make([]*candidate, 0, len(placed))
	failing := map[*candidate]bool{}
	for _, t := range trials {
		v := cp.verdicts[t.candidate]
		if v.found {
			p.quarantined = append(p.quarantined, t.candidate.image)
		}
		if v.standing != standingOut {
			able = append(able, t.candidate)
			if v.retry != nil {
				failing[t.candidate] = true
			}
		} else if v.retry.Time.After(now) {
			p.atLatest(v.retry.Time.Time)
		}
	}
	return able, failing
}

func inList(current []corev1.Container, image *candidate) bool {
	return slices.ContainsFunc(current, func(l corev1.Container) bool { return l.Name == image.name })
}

// reasons are why the class gets another list than its current one. Images that only take the places of failing ones in a
// full list are no ordinary change: they may fail too, one after the other.
func (cp *classPlan) reasons(current []corev1.Container) reasons {
	known, failing := map[string]*candidate{}, map[string]bool{}
	for image, v := range cp.verdicts {
		known[image.name], failing[image.name] = image, v.retry != nil
	}
	var was, is []string
	var used budget
	for _, container := range current {
		was = append(was, container.Name)
		used = used.plus(cmp.Or(known[container.Name], &candidate{}))
	}
	for _, e := range cp.list {
		is = append(is, e.name)
	}
	var why reasons
	for _, name := range was {
		if !slices.Contains(is, name) {
			why.failing = why.failing || failing[name]
			why.ordinary = why.ordinary || !failing[name]
		}
	}
	for _, e := range cp.list {
		if !slices.Contains(was, e.name) {
			why.failing = why.failing || failing[e.name]
			why.ordinary = why.ordinary || !failing[e.name] && cp.budget.fits(used, e.candidate)
		}
	}
	if !why.ordinary && !why.failing {
		// Only an image that fails moves within the same set.
		why.failing = !slices.Equal(was, is)
		why.ordinary = !why.failing
	}
	if first := slices.IndexFunc(was, func(name string) bool { return failing[name] }); first >= 0 {
		why.urgent = slices.ContainsFunc(was[first:], func(name string) bool { return !failing[name] })
	}
	return why
}

// atLatest makes sure that somebody looks again at a time, unless it is zero.
func (p *plan) atLatest(t time.Time) {
	if !t.IsZero() && (p.next.IsZero() || t.Before(p.next)) {
		p.next = t
	}
}
