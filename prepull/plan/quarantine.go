package plan

import (
	"cmp"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/warmth"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

const (
	firstBackOff = 5 * time.Minute
	maxBackOff   = 6 * time.Hour

	// firstRest is the first back-off after a rate limit: a registry gives the image to who comes later, and nodes that are held wait.
	firstRest = time.Minute
)

// standing is what becomes of an image in the list of a class.
type standing int

const (
	// standingGood images are ordered by their worth.
	standingGood standing = iota
	// standingLast images come behind all good ones.
	standingLast
	// standingDue images are to be tried again: pickRetries puts them at the end or leaves them out.
	standingDue
	// standingOut images are left out until their next try.
	standingOut
)

// verdict is the standing of an image in a class, and what to remember of its failures; retry is nil if it has none.
type verdict struct {
	standing standing
	retry    *v1alpha1.Retry

	// found is set if the image is found to fail now, and was not known to.
	found bool

	// turn is set while it is tried again.
	turn bool
}

// trial is what a verdict depends on besides the image.
type trial struct {
	class string

	// pullable is how many nodes of the class want the image.
	pullable int

	// surge is how many nodes may be on the way to a new list at the same time.
	surge int

	now time.Time
}

// judge decides about an image that fails. A failing image holds up all images behind it in the list of that node, so it
// must leave; a node that is in trouble itself must not take an image from all the others. Therefore:
//
//   - While no node has the image, a permanent answer, such as not found, counts at once and from any node. Any other failure
//     counts once it is settled, and only if at least half of the nodes that have come to the image fail on it.
//   - While another node has it, two nodes at least must fail, and half of those that have come to it, whatever the
//     answer. Fewer means that the nodes are to blame, and they stay blocked.
//   - An image that counts as failing is left out until its next try: after 5 minutes, or one if its registry asks for rest, twice
//     as long after each further failure, 6 hours at most. Then it takes its turn as the last of the list.
//   - Only if at least as many nodes have the image as fail on it, it stays, as the last of the list: nothing waits
//     behind it, and the copies on the nodes that have it stay protected from deletion. The failing nodes must leave
//     half of the surge free, or the next list would not get through.
//   - A registry that asks for rest gives the image later. So it stays, as the last, for nodes that had no list before, whoever has
//     it: no roll waits for them.
//   - It is forgiven when every node that wants it has run it, and from its next try on when half of them have and
//     fewer fail: those that still wait must not keep other images from their turn.
//
// Pods that are older than half of the back-off are not asked: they ran into the failure that is already known.
// retry is what is remembered of earlier failures.
func (t trial) judge(i *ClassImage, retry *v1alpha1.Retry) verdict {
	due := retry == nil || !t.now.Before(retry.Time.Time)
	if reason := t.fault(i, retry); due && reason != "" {
		next := &v1alpha1.Retry{NodeClass: t.class, Failures: 1, Reason: reason}
		if retry != nil {
			next.Failures += retry.Failures
		}
		next.Time = metav1.NewTime(t.now.Add(backOff(next)).Truncate(time.Second))
		v := verdict{standing: standingOut, found: true, retry: next}
		if i.listed && t.tolerable(i, next) {
			v.standing = standingLast
		}
		return v
	}
	holders, failing := i.Warmth.Holders(), len(i.Warmth.Failed)
	switch {
	case retry == nil:
		return verdict{}
	case t.pullable > 0 && (holders == t.pullable || due && holders > failing && 2*holders >= t.pullable):
		return verdict{}
	case due && i.listed && rests(retry) && t.tolerable(i, retry):
		return verdict{standing: standingLast, retry: retry, turn: true}
	case due && failing > 0 && t.tolerable(i, retry):
		return verdict{standing: standingLast, retry: retry}
	case due:
		return verdict{standing: standingDue, retry: retry}
	case i.listed && t.tolerable(i, retry):
		return verdict{standing: standingLast, retry: retry}
	default:
		// What has left the list does not come back before its time, whatever its last pods say.
		return verdict{standing: standingOut, retry: retry}
	}
}

// fault is why an image fails, if the failures that are not known yet are its own and not the nodes'; empty if they are not.
func (t trial) fault(i *ClassImage, retry *v1alpha1.Retry) (reason string) {
	var blocked []warmth.Failure
	for _, f := range i.Warmth.Failed {
		if f.Settled && (retry == nil || f.Since.After(retry.Time.Add(-backOff(retry)/2))) {
			blocked = append(blocked, f)
		}
	}
	if len(blocked) == 0 {
		return ""
	}
	worst := slices.MinFunc(blocked, func(a, b warmth.Failure) int {
		return cmp.Or(trueFirst(a.Permanent, b.Permanent), trueFirst(!a.RateLimited(), !b.RateLimited()), strings.Compare(a.Reason, b.Reason))
	})
	half := len(blocked) >= i.Warmth.Holders()+len(i.Warmth.Pulling)
	if ready := i.Warmth.Ready() > 0; ready && !(half && len(blocked) >= 2) || !ready && !worst.Permanent && !half {
		return ""
	}
	return worst.Reason
}

// tolerable tells whether a failing image may be at the end of the list. A node that goes without it is in nobody's way, nor is one
// that had no list before.
func (t trial) tolerable(i *ClassImage, retry *v1alpha1.Retry) bool {
	stuck := 0
	for _, f := range i.Warmth.Failed {
		if f.Rolls && !f.Alone {
			stuck++
		}
	}
	return 2*stuck <= t.surge && (i.Warmth.Holders() >= len(i.Warmth.Failed) || stuck == 0 && rests(retry))
}

// judgeAll judges the images of a class. b is what its nodes have room for.
func (t trial) judgeAll(images []*ClassImage, b budget) {
	known := make(map[*ClassImage]*v1alpha1.Retry, len(images))
	for _, i := range images {
		known[i] = i.renewed(i.retryIn(t.class))
		i.verdict = t.judge(i, known[i])
	}
	t.retryRegistries(images, known)
	pickRetries(images, b)
}

// retryRegistries makes failing images due when another one of their registry works again: what stood in their way, such
// as an outage or credentials, may be gone for all of them. They take over its time and with it its turn, so that they come
// back together and in one revision. known is what is remembered of earlier failures.
func (t trial) retryRegistries(images []*ClassImage, known map[*ClassImage]*v1alpha1.Retry) {
	works := map[string]metav1.Time{}
	for _, i := range images {
		if known[i] == nil || i.retry != nil {
			continue
		}
		if earlier, found := works[i.registry()]; !found || known[i].Time.Before(&earlier) {
			works[i.registry()] = known[i].Time
		}
	}
	for _, i := range images {
		turn, found := works[i.registry()]
		// A node that still fails on an image has not heard of it.
		if !found || known[i] == nil || i.retry == nil || len(i.Warmth.Failed) > 0 || t.now.Before(turn.Time) {
			continue
		}
		i.verdict = t.judge(i, &v1alpha1.Retry{NodeClass: t.class, Failures: known[i].Failures, Time: turn, Reason: known[i].Reason})
	}
}

// pickRetries gives one of the images that are due a turn at the end of the list, and those that became due together with it;
// the others wait. One that fails again so costs two revisions at most: where the list is full, another image leaves for it, and
// comes back. Turns are taken among those that would have a place
// in a budget if they worked: what has none is never tried, and must not keep others waiting. Declared images go first, because
// only they may find a place where there is none for learned ones. Then namespaces take turns, the one first whose last try is
// the longest ago, and of its images the one that waits longest.
func pickRetries(images []*ClassImage, b budget) {
	var due, able []*ClassImage
	tried := map[string]time.Time{}
	for _, i := range images {
		if i.retry != nil {
			last := lastTry(i.retry)
			for _, namespace := range i.namespaces {
				tried[namespace] = latest(tried[namespace], last)
			}
		}
		if i.standing == standingDue {
			i.standing, i.turn = standingLast, true
			due = append(due, i)
		}
		if i.standing != standingOut {
			able = append(able, i)
		}
	}
	if len(due) == 0 {
		return
	}
	chosen, _, _ := choose(able, b)
	placed := map[*ClassImage]bool{}
	for _, i := range chosen {
		placed[i] = true
	}
	lastTurn := func(i *ClassImage) time.Time {
		var last time.Time
		for _, namespace := range i.namespaces {
			last = latest(last, tried[namespace])
		}
		return last
	}
	together := func(a, b *ClassImage) int {
		return cmp.Or(trueFirst(a.declared, b.declared), a.retry.Time.Compare(b.retry.Time.Time))
	}
	var first *ClassImage
	for _, i := range due {
		if placed[i] && (first == nil || cmp.Or(trueFirst(i.declared, first.declared), lastTurn(i).Compare(lastTurn(first)), together(i, first)) < 0) {
			first = i
		}
	}
	for _, i := range due {
		if i.turn = first != nil && placed[i] && together(i, first) == 0; !i.turn {
			i.standing = standingOut
		}
	}
}

// registry is the host that an image is pulled from.
func (c *Candidate) registry() string {
	host, _, _ := strings.Cut(c.canonical, "/")
	return host
}

// repository that an image is pulled from, as the kubelet has it.
func (c *Candidate) repository() string { return workload.Repository(c.canonical) }

// rests tells whether the registry asked for rest when an image failed last.
func rests(r *v1alpha1.Retry) bool { return r != nil && r.Reason == warmth.CauseRateLimit.Reason }

// lastTry is when an image failed last.
func lastTry(r *v1alpha1.Retry) time.Time { return r.Time.Add(-backOff(r)) }

// backOff is how long the next try waits.
func backOff(r *v1alpha1.Retry) time.Duration {
	wait := firstBackOff
	if rests(r) {
		wait = firstRest
	}
	for range r.Failures - 1 {
		if wait *= 2; wait >= maxBackOff {
			return maxBackOff
		}
	}
	return wait
}
