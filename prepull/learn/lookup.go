package learn

import (
	"time"

	"github.com/kube-prepull/kube-prepull/prepull/workload"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// firstWait is how long after a hint the object is read: it is stored only after admission.
	firstWait = 200 * time.Millisecond

	// secondWait is how much later what held nothing new is read once more: an update may not have been
	// stored at the first lookup.
	secondWait = 2 * time.Second

	// retryWait is how much later an object that is not there is looked for again, doubling with each attempt.
	retryWait = 400 * time.Millisecond

	// maxAttempts ends the search for an object after about 6 seconds: its request was rejected, or never was one.
	maxAttempts = 4

	// crowdedAttempts is the same while more than half of the queue is taken: hints of what never was must not keep
	// out those of what is.
	crowdedAttempts = 1

	// maxField bounds each string of a key, because a hint may be forged. No name, UID or revision label is longer.
	maxField = 253

	// maxSelector bounds the labels by which a pod without a revision label is searched for.
	maxSelector = 1024
)

// revisionLabels are set by the built-in controllers on the pods of one revision, or of one job.
var revisionLabels = []string{
	appsv1.DefaultDeploymentUniqueLabelKey,
	appsv1.ControllerRevisionHashLabelKey,
	batchv1.ControllerUidLabel,
	batchv1.JobNameLabel,
	"controller-uid",
	"job-name",
}

// lookupKey is where to look: at a named object, or for pods at those that fit.
type lookupKey struct {
	kind, namespace, name string
	// generateName and owner, of which one is set if name is not, tell which pods fit.
	generateName string
	owner        types.UID
	// selector limits the pods that are read; empty means the whole namespace. With revision set it selects the pods of
	// one revision or job.
	selector string
	revision bool
}

// keyOf says where to look on account of a hint, false if nowhere. All pods of an owner's revision share a key.
// A workload without a name is not looked for: its pods tell the same.
func keyOf(h workload.Hint) (lookupKey, bool) {
	for _, s := range []string{h.Namespace, h.Name, h.GenerateName, string(h.OwnerUID)} {
		if len(s) > maxField {
			return lookupKey{}, false
		}
	}
	p := lookupKey{kind: h.Kind, namespace: h.Namespace}
	switch h.Kind {
	case "Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob":
		p.name = h.Name
		return p, h.Namespace != "" && h.Name != ""
	case "Pod":
		switch {
		case h.OwnerUID != "" && h.OwnerKind != "Node":
			p.owner = h.OwnerUID
			p.selector, p.revision = selectorOf(h.Labels)
		case h.Name != "":
			p.name = h.Name
		default:
			p.generateName = h.GenerateName
			p.selector, p.revision = selectorOf(h.Labels)
		}
		return p, h.Namespace != "" && (p.owner != "" || p.name != "" || p.generateName != "")
	}
	return lookupKey{}, false
}

// selectorOf selects pods by their revision, and then it is true, or else by all the labels that the hint gives.
func selectorOf(l map[string]string) (string, bool) {
	for _, key := range revisionLabels {
		if value := l[key]; value != "" && len(value) <= maxField {
			return labels.Set{key: value}.String(), true
		}
	}
	set, size := labels.Set(l), 0
	for key, value := range set {
		size += len(key) + len(value) + 2
	}
	if size > maxSelector {
		return "", false
	}
	return set.String(), false
}

// finding is what a lookup found.
type finding int

const (
	absent  finding = iota // the object is not stored, or not yet
	stale                  // nothing but what was known
	fresh                  // something new
	foreign                // the namespace is not opted in, or there is none
)

// firstLookup is the first lookup of a key on account of one admission at now, after firstList if pods have to be searched
// for.
func firstLookup(p lookupKey, firstList time.Duration, now time.Time) lookup {
	wait := firstWait
	if p.name == "" {
		wait = firstList
	}
	return lookup{lookupKey: p, admissions: 1, due: now.Add(wait)}
}

// again is the lookup that follows a lookup that found f at now, false if there is none. In a crowded queue an object that
// is not there is looked for less often.
func (l lookup) again(f finding, crowded bool, now time.Time) (lookup, bool) {
	if l.attempt >= maxAttempts {
		return lookup{}, false
	}
	switch f {
	case absent:
		if crowded && l.attempt >= crowdedAttempts {
			return lookup{}, false
		}
		l.due = now.Add(retryWait << l.attempt)
		l.attempt++
		return l, true
	case stale:
		l.due = now.Add(secondWait)
		l.attempt = maxAttempts
		return l, true
	}
	return lookup{}, false
}
