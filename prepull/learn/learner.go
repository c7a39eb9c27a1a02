package learn

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

	"github.com/kube-prepull/kube-prepull/api/clock"
	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

const (
	// maxHints is how many objects wait to be read, and how many searches for pods; a hint beyond it is dropped, and the
	// resync repairs that.
	maxHints = 4096

	// readers is how many named objects are read at the same time, searchers how many searches run.
	readers   = 16
	searchers = 4

	// readRate and readBurst bound the objects that one replica reads a second, because anybody in the cluster can send
	// a hint. The burst lets a thousand new workloads through at full speed.
	readRate  = 200
	readBurst = 1000

	// listRate and listBurst bound its lists of pods in the same way: one costs the API server as much as a hundred
	// objects.
	listRate  = 20
	listBurst = 200

	// lastFlush is how long the counted starts may take to be written when the manager stops.
	lastFlush = 5 * time.Second
)

// Learner turns hints into PrepullImages. It runs on every replica.
type Learner struct {
	cached    client.Reader
	live      client.Reader
	images    *imageStore
	namespace string
	clocks    clock.Clocks
	// named and searches are the lookups at objects and those for pods, apart so that the dear ones never hold up the
	// cheap ones.
	named, searches *lookupQueue
	reads, lists    *rate.Limiter
	// fromPods is set if templates teach nothing.
	fromPods bool
	// accounts is nil if no pull secrets are learned.
	accounts *accountReader
	starts   startCounter
	log      logr.Logger
	complain rate.Sometimes
	metrics  *metrics
}

func newLearner(mgr ctrl.Manager, o Options, m *metrics) *Learner {
	log := mgr.GetLogger().WithName("learner")
	l := &Learner{
		cached:    mgr.GetClient(),
		live:      mgr.GetAPIReader(),
		images:    newImageStore(mgr.GetClient(), mgr.GetAPIReader(), log, m),
		namespace: o.Namespace,
		clocks:    o.Clocks,
		named:     newLookupQueue(maxHints),
		searches:  newLookupQueue(maxHints),
		reads:     rate.NewLimiter(readRate, readBurst),
		lists:     rate.NewLimiter(listRate, listBurst),
		fromPods:  o.FromPods,
		log:       log,
		complain:  rate.Sometimes{First: 1, Interval: 10 * time.Second},
		metrics:   m,
	}
	if o.PullSecrets {
		l.accounts = newAccountReader(l.live)
	}
	return l
}

// Hint asks for a lookup at what an admission was about. It never blocks; it returns false if there is nothing to look
// at or too much already.
func (l *Learner) Hint(h workload.Hint) bool {
	p, ok := keyOf(h)
	if ok {
		first := firstLookup(p, l.clocks.FirstList, time.Now())
		first.client = h.Client
		ok = l.queueOf(p).add(first)
	}
	if !ok {
		l.metrics.hints.WithLabelValues("dropped").Inc()
		return false
	}
	l.metrics.hints.WithLabelValues("queued").Inc()
	return true
}

func (l *Learner) queueOf(p lookupKey) *lookupQueue {
	if p.name == "" {
		return l.searches
	}
	return l.named
}

// NeedLeaderElection is false: an admission reaches one replica, and that one learns.
func (l *Learner) NeedLeaderElection() bool { return false }

// Start looks up what hints point to until ctx ends.
func (l *Learner) Start(ctx context.Context) error {
	var running sync.WaitGroup
	for range readers {
		running.Go(func() { l.work(ctx, l.named) })
	}
	for range searchers {
		running.Go(func() { l.work(ctx, l.searches) })
	}
	running.Go(func() { l.flushStarts(ctx) })
	running.Wait()
	return nil
}

func (l *Learner) work(ctx context.Context, queue *lookupQueue) {
	for {
		next, ok := queue.take(ctx)
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
		if again, ok := next.again(found, err == nil && queue.crowded(), time.Now()); ok {
			if queue.add(again) {
				continue
			}
			result = "dropped"
		}
		l.metrics.hints.WithLabelValues(result).Inc()
	}
}

// resultOf names the end of a lookup for the metric.
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

// learn looks one key up and stores what is new.
func (l *Learner) learn(ctx context.Context, at lookup) (finding, error) {
	ns := workload.NamespaceMetadata()
	if err := l.cached.Get(ctx, client.ObjectKey{Name: at.namespace}, ns); apierrors.IsNotFound(err) {
		return foreign, nil
	} else if err != nil {
		return absent, fmt.Errorf("getting the namespace: %w", err)
	}
	if !workload.OptedIn(ns, l.namespace) {
		return foreign, nil
	}
	seen, err := l.read(ctx, at.lookupKey, ns.Labels)
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
	taught := false
	for _, use := range usesOf(seen) {
		if use.predicted && l.fromPods {
			continue
		}
		wrote, err := l.record(ctx, use)
		if err != nil {
			return absent, err
		}
		taught = taught || wrote
	}
	if !taught {
		return found, nil
	}
	return fresh, l.correct(ctx, seen, ns.Labels)
}

// imageUse is an image with a workload that uses it, and what that asks for.
type imageUse struct {
	image  string
	user   v1alpha1.User
	demand workload.Demand
	// predicted is set if a template says so, and no pod.
	predicted bool
}

// usesOf returns what a number of sightings teach, each user of an image once.
func usesOf(seen []observation) []imageUse {
	type key struct {
		image string
		user  v1alpha1.User
	}
	known := map[key]int{}
	var uses []imageUse
	for _, s := range seen {
		for _, image := range s.images {
			k := key{image, s.user}
			at, ok := known[k]
			if !ok {
				at, known[k] = len(uses), len(uses)
				uses = append(uses, imageUse{image: image, user: s.user, predicted: true})
			}
			uses[at].predicted = uses[at].predicted && !s.pod
			uses[at].demand = uses[at].demand.Plus(s.DemandFor(image))
		}
	}
	return uses
}

// record stores that an image is used, and returns whether that was new.
func (l *Learner) record(ctx context.Context, u imageUse) (bool, error) {
	o, err := l.images.ensure(ctx, u.image)
	if o == nil || err != nil {
		return false, err
	}
	version, err := l.images.update(ctx, o, func(have learned) learned {
		if u.predicted {
			return have.predictedFor(u.user, u.demand, time.Now())
		}
		return have.withUse(u.user, u.demand, time.Now())
	})
	return version != "", err
}

// flushStarts writes the counted starts until ctx ends, and then once more: a restart loses none.
func (l *Learner) flushStarts(ctx context.Context) {
	tick := time.NewTicker(l.clocks.StartsFlush)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastFlush)
			defer cancel()
			l.flushAll(last)
			return
		case <-tick.C:
			l.flushAll(ctx)
		}
	}
}

func (l *Learner) flushAll(ctx context.Context) {
	deltas := l.starts.take()
	for _, image := range slices.Sorted(maps.Keys(deltas)) {
		if err := l.flush(ctx, image, deltas[image]); err != nil {
			l.starts.putBack(image, deltas[image])
			l.complain.Do(func() { l.log.Error(err, "writing starts failed") })
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
		have.Starts = have.Starts.Plus(n, now)
		return have
	})
	return err
}
