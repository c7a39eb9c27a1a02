package prepull

import (
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
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

	// pulls is what is known of pull secrets.
	pulls pulls
}

// plan is what has to be written so that the cluster is as it should be. There is nothing in it for what is so already.
type plan struct {
	// write are the DaemonSets that are missing or differ, as they should be.
	write []*appsv1.DaemonSet

	// remove are the DaemonSets that no class needs any more.
	remove []*appsv1.DaemonSet

	// quarantined are the images that leave a list, or go to its end, because they were found to fail.
	quarantined []string

	// reasons are why something is written or removed.
	reasons reasons

	// statuses are those that differ, by the name of the object.
	statuses []statusChange

	// next is when time alone changes the plan; zero if it does not.
	next time.Time

	// classes is how far each class is.
	classes []*classPlan
}

// classPlan is the plan for one class of nodes.
type classPlan struct {
	*nodeClass
	warmth   *warmth
	verdicts map[*candidate]verdict

	// placed are the images with a use in the class, and over those of them that the budget leaves out, with their rank.
	placed map[*candidate]bool
	over   map[*candidate]int

	// list are the images of the class's DaemonSet, in order.
	list []entry
}

// makePlan decides, in this order: what fails (judge), where an image is of use (placeOn), which images are worth a place
// (choose), and what comes first (order). Equal input gives an equal plan.
func makePlan(s state, o Options, now time.Time) plan {
	found, invalid := candidates(s.images, now)
	for _, c := range found {
		c.access = s.pulls.access(c)
	}
	stored := map[string]*appsv1.DaemonSet{}
	for _, ds := range s.daemonSets {
		stored[ds.Name] = ds
	}
	podsOf := map[string][]*corev1.Pod{}
	for _, pod := range s.pods {
		podsOf[pod.Spec.NodeName] = append(podsOf[pod.Spec.NodeName], pod)
	}

	var p plan
	planned := map[string]*classPlan{}
	for _, c := range classify(s.nodes) {
		var pods []*corev1.Pod
		for _, n := range c.waiting {
			pods = append(pods, podsOf[n.Name]...)
		}
		name := daemonSetName(c)
		was := stored[name]
		cp := p.planClass(c, found, pods, listed(was), o, now)
		p.classes = append(p.classes, cp)
		planned[name] = cp
		if len(cp.list) == 0 {
			continue
		}
		if ds := daemonSet(c, cp.list, o); was == nil || !upToDate(was, ds, s.accepted[name]) {
			p.write = append(p.write, ds)
			p.reasons.add(cp.reasons(listed(was), o.MaxImagesPerNode))
		}
	}
	for _, ds := range s.daemonSets {
		cp := planned[ds.Name]
		if ds.DeletionTimestamp != nil || cp != nil && len(cp.list) > 0 {
			continue
		}
		p.remove = append(p.remove, ds)
		if cp != nil {
			p.reasons.add(cp.reasons(listed(ds), o.MaxImagesPerNode))
		} else {
			p.reasons.ordinary = true
		}
	}
	slices.SortFunc(p.remove, func(a, b *appsv1.DaemonSet) int { return strings.Compare(a.Name, b.Name) })
	p.statuses = statusChanges(s.images, found, invalid, p.classes, o.MaxImagesPerNode, now)
	return p
}

// planClass decides about one class, and adds to the plan when time alone changes the decision.
func (p *plan) planClass(c *nodeClass, found []*candidate, pods []*corev1.Pod, current []corev1.Container, o Options, now time.Time) *classPlan {
	cp := &classPlan{
		nodeClass: c,
		warmth:    observeClass(c, found, pods, o.PullDeadline, now),
		verdicts:  map[*candidate]verdict{},
		placed:    map[*candidate]bool{},
	}
	p.atLatest(cp.warmth.next)
	surge, err := intstr.GetScaledValueFromIntOrPercent(&o.MaxConcurrentNodes, len(c.nodes), true)
	if err != nil {
		surge = 1
	}
	able, failing := p.judgeAll(cp, found, current, surge, now)
	var chosen []*candidate
	chosen, cp.over = choose(able, current, failing, o.MaxImagesPerNode)
	for image := range cp.over {
		// An image that fails and is displaced waits for its next try like one that left at once.
		if v := cp.verdicts[image]; v.standing == standingLast && v.retry.Time.After(now) {
			delete(cp.over, image)
			cp.verdicts[image] = verdict{standing: standingOut, retry: v.retry, found: v.found}
			p.atLatest(v.retry.Time.Time)
		}
	}
	entries := make([]entry, 0, len(chosen))
	for _, image := range chosen {
		if image.access.awaited && !inList(current, image) {
			continue // a place is kept for it until its pull secret is there
		}
		entries = append(entries, entry{
			candidate: image,
			missing:   2*cp.ready(image) < len(c.waiting),
			last:      cp.verdicts[image].standing == standingLast,
			troubled:  len(cp.warmth.images[image.name].failed) > 0,
		})
	}
	cp.list = order(entries, current)
	return cp
}

// judgeAll judges the images with a use in the class, and returns those that may be in its list, and which of them fail.
func (p *plan) judgeAll(cp *classPlan, found []*candidate, current []corev1.Container, surge int, now time.Time) ([]*candidate, map[*candidate]bool) {
	var trials []trial
	for _, image := range placeOn(found, cp.nodeClass) {
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
		cp.placed[image] = true
		cp.verdicts[image] = judge(cp.name, t, now)
	}
	mend(cp.name, trials, cp.verdicts, now)
	takeTurns(cp.verdicts)
	var able []*candidate
	failing := map[*candidate]bool{}
	for _, t := range trials {
		v := cp.verdicts[t.candidate]
		if v.found {
			p.quarantined = append(p.quarantined, t.candidate.image)
		}
		if v.standing != standingOut {
			able = append(able, t.candidate)
			failing[t.candidate] = v.retry != nil
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
func (cp *classPlan) reasons(current []corev1.Container, budget int) reasons {
	failing := map[string]bool{}
	for image, v := range cp.verdicts {
		failing[image.name] = v.retry != nil
	}
	var was, is []string
	for _, container := range current {
		was = append(was, container.Name)
	}
	for _, e := range cp.list {
		is = append(is, e.name)
	}
	var why reasons
	freed, filled := 0, 0
	for _, name := range was {
		if !slices.Contains(is, name) && failing[name] {
			freed++
		} else if !slices.Contains(is, name) {
			why.ordinary = true
		}
	}
	for _, name := range is {
		if !slices.Contains(was, name) && failing[name] {
			why.failing = true
		} else if !slices.Contains(was, name) {
			filled++
		}
	}
	why.failing = why.failing || freed > 0
	why.ordinary = why.ordinary || filled > 0 && (filled > freed || len(was) < budget)
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

// ready counts the waiting nodes that have an image.
func (cp *classPlan) ready(image *candidate) int {
	w, ready := cp.warmth.images[image.name], 0
	for _, n := range cp.waiting {
		if w.has(n.Name) {
			ready++
		}
	}
	return ready
}
