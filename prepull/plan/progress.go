package plan

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-prepull/kube-prepull/prepull/warmth"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// unfinishedTaints are on nodes that have not got all their labels yet: which images they are to have is not known.
var unfinishedTaints = []string{"karpenter.sh/unregistered", "node.cloudprovider.kubernetes.io/uninitialized", "node.cluster.x-k8s.io/uninitialized"}

// progress is how far a node is with the images that it must have before it is called warm.
type progress struct {
	outlook outlook

	images, present, pulling int

	// oversized is how many images it is not to wait for, because they are too large.
	oversized int

	// trouble is what holds up one of its lists, in words; empty if nothing does. until is when that will count as failing.
	trouble string
	until   time.Time

	// missing are the images that are not there yet.
	missing []string
}

// outlook is what is to come of a node that waits for its images.
type outlook int

const (
	// outlookUnknown is of a node that has not got all its labels yet.
	outlookUnknown outlook = iota
	// outlookNothing is of a node that has nothing to wait for.
	outlookNothing
	// outlookWaiting is of a node that lacks images which may come.
	outlookWaiting
	// outlookWarm is of a node that has all images.
	outlookWarm
	// outlookStuck is of a node that lacks images which fail, or are behind one that does.
	outlookStuck
)

// observer reads the progress of the nodes of a class. Those that are not waited for, such as new ones that are not Ready
// yet, may pull all the same.
type observer struct {
	*ClassPlan
	waiting, others view

	// failing are images that a node is not warm without, although they fail in the whole class, and patience is how long a node is
	// held at most.
	failing  []*ClassImage
	patience time.Duration
}

// view is a warmth with what matters to progress at hand: there may be thousands of nodes.
type view struct {
	*warmth.Warmth

	// hot are the images to wait for, and failing those of the observer; troubled are those that some node has trouble with, by
	// name; lanes are those of the class.
	hot, failing []*warmth.Image
	troubled     []trouble
	lanes        []*lane
}

// trouble with an image on some node.
type trouble struct {
	*ClassImage

	// leaving is set if the image is to leave the list, or to go to its end: then it is out of the way of the others.
	leaving bool
}

func newObserver(cp *ClassPlan, pods []*corev1.Pod, o Options, now time.Time) observer {
	var others []*corev1.Node
	for _, n := range cp.Nodes {
		if _, waits := cp.Warmth.At[n.Name]; !waits {
			others = append(others, n)
		}
	}
	starting := warmth.Observe(others, observedImages(cp.candidates()), pods, o.PullDeadline, now)
	failing := cp.failingHot(o.Gate.MaxBytes)
	return observer{cp, cp.viewOf(cp.Warmth, failing), cp.viewOf(starting, failing), failing, o.Gate.Deadline}
}

// failingHot are the images that would be hot if they did not fail: those whose registry asks for rest, since it gives them later,
// and all of them where nothing else is hot, or a node would be called warm that has nothing.
func (cp *ClassPlan) failingHot(maxBytes int64) []*ClassImage {
	counts := func(i *ClassImage) bool {
		return i.retry != nil && (len(cp.hot) == 0 || i.retry.Reason == warmth.CauseRateLimit.Reason)
	}
	if !slices.ContainsFunc(cp.Images, counts) {
		return nil
	}
	var failing []*ClassImage
	chosen, _, _ := choose(cp.Images, cp.budget)
	for _, i := range chosen {
		if counts(i) && (i.need == workload.Required || i.need == workload.Usual && i.bytes() <= maxBytes) {
			failing = append(failing, i)
		}
	}
	return failing
}

// candidates are the images with a use in the class.
func (cp *ClassPlan) candidates() []*Candidate {
	all := make([]*Candidate, len(cp.Images))
	for i, image := range cp.Images {
		all[i] = image.Candidate
	}
	return all
}

func (cp *ClassPlan) viewOf(w *warmth.Warmth, failing []*ClassImage) view {
	v := view{Warmth: w, lanes: cp.lanes}
	for _, c := range cp.hot {
		v.hot = append(v.hot, w.Images[c.Name])
	}
	for _, c := range failing {
		v.failing = append(v.failing, w.Images[c.Name])
	}
	staying := map[*Candidate]bool{}
	for _, e := range cp.List {
		staying[e.Candidate] = !e.atEnd
	}
	for _, image := range cp.Images {
		if len(w.Images[image.Name].Failed) > 0 {
			v.troubled = append(v.troubled, trouble{image, !staying[image.Candidate]})
		}
	}
	return v
}

// progress of a node. missing is left out unless it is asked for.
func (o observer) progress(n *corev1.Node, missing bool, now time.Time) progress {
	p := progress{images: len(o.hot) + len(o.failing), oversized: o.oversized}
	if unfinished(n) {
		return p
	}
	v := o.waiting
	at, waits := v.At[n.Name]
	if !waits {
		v, at = o.others, o.others.At[n.Name]
	}
	stuck := v.noteTrouble(&p, n.Name, now)
	failing := 0
	for i, image := range v.hot {
		f, failed := image.Failed[n.Name]
		if !failed && image.There(at) {
			p.present++
			continue
		}
		fails := failed && f.Counts(now)
		if fails || stuck[o.hot[i].lane] {
			failing++
		}
		if !fails && image.Pulling[n.Name] {
			p.pulling++
		}
		if missing {
			p.missing = append(p.missing, o.hot[i].image)
		}
	}
	for i, image := range v.failing {
		if _, failed := image.Failed[n.Name]; !failed && image.There(at) {
			p.present++
			continue
		}
		if p.noteFailing(o.failing[i], o.patience, now) {
			failing++
		}
		if missing {
			p.missing = append(p.missing, o.failing[i].image)
		}
	}
	switch {
	case p.images == 0:
		p.outlook = outlookNothing
	case p.present == p.images:
		p.outlook = outlookWarm
	case p.present+failing == p.images:
		p.outlook = outlookStuck
	default:
		p.outlook = outlookWaiting
	}
	return p
}

// noteFailing notes that a node lacks an image which fails in the whole class, and tells whether it is not waited for: what is
// permanent never is, a rate limit unless the next try waits for longer than nodes are held, and anything else for as long as trouble
// may pass.
func (p *progress) noteFailing(i *ClassImage, patience time.Duration, now time.Time) bool {
	cause := warmth.CauseOf(i.retry.Reason)
	if p.trouble == "" {
		p.trouble = i.image + " cannot be pulled: " + cause.Words
	}
	f := warmth.Failure{Cause: cause, Settled: true, Began: lastTry(i.retry)}
	if f.RateLimited() && i.standing == standingOut && backOff(i.retry) > patience {
		return true
	}
	if !f.Counts(now) {
		p.until = sooner(p.until, f.CountsFrom())
		return false
	}
	return true
}

// noteTrouble notes what holds up a node, and returns the lanes whose list is held up by what counts as failing.
func (v view) noteTrouble(p *progress, node string, now time.Time) (stuck map[int]bool) {
	heldUp := map[int]warmth.Failure{}
	if f, broken := v.Broken[node]; broken {
		p.trouble = "the prepull pod fails: " + f.Message
		for _, l := range v.lanes {
			if f, broken := v.BrokenLane(node, laneLabel(l.number)); broken {
				heldUp[l.number] = f
			}
		}
	}
	for _, t := range v.troubled {
		f, fails := v.Images[t.Name].Failed[node]
		if _, known := heldUp[t.lane]; known || !fails {
			continue
		}
		if p.trouble == "" {
			p.trouble = t.image + " cannot be pulled: " + f.Words
		}
		f.Permanent = f.Permanent && !t.leaving
		heldUp[t.lane] = f
	}
	stuck = map[int]bool{}
	for lane, f := range heldUp {
		stuck[lane] = f.Counts(now) && !f.Alone
		if !f.Counts(now) {
			p.until = sooner(p.until, f.CountsFrom())
		}
	}
	return stuck
}

func unfinished(n *corev1.Node) bool {
	return slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return slices.Contains(unfinishedTaints, t.Key) })
}

// words are the numbers for people.
func (p *progress) words() string {
	words := fmt.Sprintf("%d of %d images", p.present, p.images)
	if p.images == 0 {
		words = "no images"
	}
	if p.present < p.images {
		words += fmt.Sprintf(", %d pulling", p.pulling)
	}
	if p.trouble != "" && p.present < p.images {
		words += "; " + p.trouble
	}
	if p.oversized > 0 {
		words += fmt.Sprintf("; %d too large to wait for (gate.maxBytes)", p.oversized)
	}
	return words
}
