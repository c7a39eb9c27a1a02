package plan

import (
	"cmp"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/warmth"
)

const (
	firstBackOff = 5 * time.Minute
	maxBackOff   = 6 * time.Hour
)

// standing is what becomes of an image in the list of a class.
type standing int

const (
	// standingGood images are ordered by their worth.
	standingGood standing = iota
	// standingLast images come behind all good ones.
	standingLast
	// standingDue images are to be tried again: takeTurns puts them last or leaves them out.
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
}

// trial is what a verdict is made from.
type trial struct {
	*Candidate
	image *warmth.Image

	// waiting is how many nodes of the class want the image.
	waiting int

	// listed is set if the image is in the class's list now.
	listed bool

	// surge is how many nodes may be on the way to a new list at the same time.
	surge int

	// retry is what is remembered of earlier failures.
	retry *v1alpha1.Retry
}

// judge decides about an image that fails. A failing image holds up all images behind it in the list of that node, so it
// must leave; a node that is in trouble itself must not take an image from all the others. Therefore:
//
//   - While no node has the image, a final answer, such as not found, counts at once and from any node. Any other failure
//     counts once it is settled, and only if at least half of the nodes that have come to the image fail on it.
//   - While another node has it, two nodes at least must fail, and half of those that have come to it, whatever the
//     answer. Fewer means that the nodes are to blame, and they stay blocked.
//   - An image that counts as failing is left out until its next try: after 5 minutes, twice as long after each further
//     failure, 6 hours at most. Then it takes its turn as the last of the list.
//   - Only if at least as many nodes have the image as fail on it, it stays, as the last of the list: nothing waits
//     behind it, and the copies on the nodes that have it stay protected from deletion. The failing nodes must leave
//     half of the surge free, or the next list would not get through.
//   - It is forgiven when every node that wants it has run it, and from its next try on when half of them have and
//     fewer fail: those that still wait must not keep other images from their turn.
//
// Pods that are older than half of the back-off are not asked: they ran into the failure that is already known.
func judge(class string, t trial, now time.Time) verdict {
	due := t.retry == nil || !now.Before(t.retry.Time.Time)
	if due && t.blamed() {
		failures := int32(1)
		if t.retry != nil {
			failures += t.retry.Failures
		}
		v := verdict{standing: standingOut, found: true, retry: &v1alpha1.Retry{
			NodeClass: class,
			Failures:  failures,
			Time:      metav1.NewTime(now.Add(backOff(failures)).Truncate(time.Second)),
		}}
		if t.listed && t.bearable() {
			v.standing = standingLast
		}
		return v
	}
	holders, failing := t.image.Holders(), len(t.image.Failed)
	switch {
	case t.retry == nil:
		return verdict{}
	case t.waiting > 0 && (holders == t.waiting || due && holders > failing && 2*holders >= t.waiting):
		return verdict{}
	case due && failing > 0 && t.bearable():
		return verdict{standing: standingLast, retry: t.retry}
	case due:
		return verdict{standing: standingDue, retry: t.retry}
	case t.listed && t.bearable():
		return verdict{standing: standingLast, retry: t.retry}
	default:
		// What has left the list does not come back before its time, whatever its last pods say.
		return verdict{standing: standingOut, retry: t.retry}
	}
}

// blamed tells whether the failures that are not known yet are the image's and not the nodes'.
func (t trial) blamed() bool {
	var blocked int
	final := false
	for _, f := range t.image.Failed {
		if f.Settled && (t.retry == nil || f.Since.After(t.retry.Time.Add(-backOff(t.retry.Failures)/2))) {
			blocked++
			final = final || f.Final
		}
	}
	half := blocked > 0 && blocked >= t.image.Holders()+len(t.image.Pulling)
	if t.image.Ready() > 0 {
		return half && blocked >= 2
	}
	return final || half
}

// bearable tells whether a failing image may be the last of the list.
func (t trial) bearable() bool {
	failing := len(t.image.Failed)
	return t.image.Holders() >= failing && 2*failing <= t.surge
}

// mend makes failing images due when another one of their registry works again: what stood in their way, such as an
// outage or credentials, may be gone for all of them. They take over its time and with it its turn, so that they come
// back together and in one revision.
func mend(class string, trials []trial, verdicts map[*Candidate]verdict, now time.Time) {
	mended := map[string]metav1.Time{}
	for _, t := range trials {
		if t.retry == nil || verdicts[t.Candidate].retry != nil {
			continue
		}
		if earlier, found := mended[t.registry()]; !found || t.retry.Time.Before(&earlier) {
			mended[t.registry()] = t.retry.Time
		}
	}
	for _, t := range trials {
		turn, found := mended[t.registry()]
		// A node that still fails on an image has not heard of the mending.
		if !found || t.retry == nil || verdicts[t.Candidate].retry == nil || len(t.image.Failed) > 0 || now.Before(turn.Time) {
			continue
		}
		t.retry = &v1alpha1.Retry{NodeClass: class, Failures: t.retry.Failures, Time: turn}
		verdicts[t.Candidate] = judge(class, t, now)
	}
}

// takeTurns lets the image whose next try is longest past be the last of the list, and those that a mended registry made
// due together with it; the others wait. One that fails again so costs no more than one revision. Declared images go
// first, because only they may find a place where there is none for learned ones.
func takeTurns(verdicts map[*Candidate]verdict) {
	before := func(a, b *Candidate) int {
		return cmp.Or(TrueFirst(a.declared, b.declared), verdicts[a].retry.Time.Compare(verdicts[b].retry.Time.Time))
	}
	var due []*Candidate
	for image, v := range verdicts {
		if v.standing == standingDue {
			due = append(due, image)
		}
	}
	if len(due) == 0 {
		return
	}
	first := slices.MinFunc(due, before)
	for _, image := range due {
		v := verdicts[image]
		v.standing = standingOut
		if before(image, first) == 0 {
			v.standing = standingLast
		}
		verdicts[image] = v
	}
}

// registry is the host that an image is pulled from.
func (c *Candidate) registry() string {
	host, _, _ := strings.Cut(c.canonical, "/")
	return host
}

// backOff after a number of failures in a row, 1 at least.
func backOff(failures int32) time.Duration {
	wait := firstBackOff
	for range failures - 1 {
		if wait *= 2; wait >= maxBackOff {
			return maxBackOff
		}
	}
	return wait
}
