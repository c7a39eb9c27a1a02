package prepull

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/time/rate"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

const (
	// maxHints is how many places wait to be looked at; a hint beyond it is dropped, and the resync repairs that.
	maxHints = 4096

	// learners is how many places are looked at at the same time.
	learners = 16

	// readRate and readBurst bound the reads of one replica a second, because anybody in the cluster can send a hint.
	// The burst lets a thousand new workloads through at full speed.
	readRate  = 200
	readBurst = 1000

	// flushInterval is how often counted starts are written.
	flushInterval = time.Minute
)

// Learner turns hints into PrepullImages. It runs on every replica.
type Learner struct {
	cached    client.Reader
	live      client.Reader
	images    *imageStore
	namespace string
	queue     *lookQueue
	limiter   *rate.Limiter
	starts    startCounter
	log       logr.Logger
	complain  rate.Sometimes
}

func newLearner(mgr ctrl.Manager, o Options) *Learner {
	log := mgr.GetLogger().WithName("learner")
	return &Learner{
		cached:    mgr.GetClient(),
		live:      mgr.GetAPIReader(),
		images:    newImageStore(mgr.GetClient(), mgr.GetAPIReader(), log),
		namespace: o.Namespace,
		queue:     newLookQueue(maxHints),
		limiter:   rate.NewLimiter(readRate, readBurst),
		log:       log,
		complain:  rate.Sometimes{First: 1, Interval: 10 * time.Second},
	}
}

// Hint asks for a look at what an admission was about. It never blocks; it returns false if there is nothing to look
// at or too much already.
func (l *Learner) Hint(h Hint) bool {
	p, ok := placeOf(h)
	if ok {
		ok = l.queue.add(firstLookAt(p, time.Now()))
	}
	if !ok {
		hintsMetric.WithLabelValues("dropped").Inc()
		return false
	}
	hintsMetric.WithLabelValues("queued").Inc()
	return true
}

// NeedLeaderElection is false: an admission reaches one replica, and that one learns.
func (l *Learner) NeedLeaderElection() bool { return false }

// Start looks at what hints point to until ctx ends.
func (l *Learner) Start(ctx context.Context) error {
	var running sync.WaitGroup
	for range learners {
		running.Go(func() { l.work(ctx) })
	}
	running.Go(func() { l.flushStarts(ctx) })
	running.Wait()
	return nil
}

func (l *Learner) work(ctx context.Context) {
	for {
		next, ok := l.queue.take(ctx)
		if !ok {
			return
		}
		found, err := l.learn(ctx, next)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			// Nobody is told of the error but the log; trying again later is all there is to do.
			found = absent
			l.complain.Do(func() { l.log.Error(err, "learning failed", "kind", next.kind, "namespace", next.namespace) })
		}
		result := resultOf(found, err)
		if again, ok := next.again(found, time.Now()); ok {
			if l.queue.add(again) {
				continue
			}
			result = "dropped"
		}
		hintsMetric.WithLabelValues(result).Inc()
	}
}

// resultOf names the end of a look for the metric.
func resultOf(found finding, err error) string {
	switch {
	case err != nil:
		return "error"
	case found == fresh:
		return "learned"
	default:
		return "nothing"
	}
}

// learn looks at one place and stores what is new there.
func (l *Learner) learn(ctx context.Context, at look) (finding, error) {
	ns := namespaceMetadata()
	if err := l.cached.Get(ctx, client.ObjectKey{Name: at.namespace}, ns); apierrors.IsNotFound(err) {
		return absent, nil
	} else if err != nil {
		return absent, fmt.Errorf("getting the namespace: %w", err)
	}
	if !optedIn(ns, l.namespace) {
		return foreign, nil
	}
	seen, err := l.read(ctx, at.place)
	if err != nil {
		return absent, fmt.Errorf("looking at a hint: %w", err)
	}
	if len(seen) == 0 {
		return absent, nil
	}
	found := stale
	if at.kind == "Pod" && l.starts.count(seen, at.admissions) > 0 {
		found = fresh
	}
	for _, use := range usesOf(seen) {
		wrote, err := l.record(ctx, use)
		if err != nil {
			return absent, err
		}
		if wrote {
			found = fresh
		}
	}
	return found, nil
}

// use is an image with a workload that uses it.
type use struct {
	image string
	user  v1alpha1.User
}

// usesOf returns what a number of sightings teach, each thing once.
func usesOf(seen []sighting) []use {
	known := map[use]bool{}
	var uses []use
	for _, s := range seen {
		for _, image := range s.images {
			if u := (use{image, s.user}); !known[u] {
				known[u] = true
				uses = append(uses, u)
			}
		}
	}
	return uses
}

// record stores that an image is used, and returns whether that was new.
func (l *Learner) record(ctx context.Context, u use) (bool, error) {
	o, err := l.images.ensure(ctx, u.image)
	if o == nil || err != nil {
		return false, err
	}
	return l.images.update(ctx, o, func(have learned) learned { return have.withUser(u.user, time.Now()) })
}

// flushStarts writes the counted starts until ctx ends.
func (l *Learner) flushStarts(ctx context.Context) {
	tick := time.NewTicker(flushInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		deltas := l.starts.take()
		for _, image := range slices.Sorted(maps.Keys(deltas)) {
			if err := l.flush(ctx, image, deltas[image]); err != nil {
				l.starts.putBack(image, deltas[image])
				l.complain.Do(func() { l.log.Error(err, "writing starts failed") })
			}
		}
	}
}

// flush adds n starts to an image. The starts of an image that is not stored are forgotten.
func (l *Learner) flush(ctx context.Context, image string, n int) error {
	o, _, err := l.images.find(ctx, image)
	if o == nil || err != nil {
		return err
	}
	now := time.Now()
	_, err = l.images.update(ctx, o, func(have learned) learned {
		have.Starts = plusStarts(have.Starts, n, now)
		return have
	})
	return err
}
