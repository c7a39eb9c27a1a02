package digest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/distribution/reference"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/kube-prepull/kube-prepull/webhook/memory"
)

const (
	// answerTime and noTime are how long an answer and a registry's no are remembered: long enough for a burst of
	// admissions with the same image, and short enough that who pushes a tag and applies again gets it.
	answerTime = 3 * time.Second
	noTime     = 10 * time.Second

	// maxAnswers bounds what is remembered, and maxFlights what is asked at the same time or waits for its turn: about
	// what registries can answer while an admission waits. A namespace has a quarter of them.
	maxAnswers   = 10_000
	maxFlights   = 1_000
	maxFlightsOf = maxFlights / 4
)

// result is how a question to the Resolver ended, one of the constants below.
type result string

const (
	remembered result = "remembered" // asked a few seconds ago, or nothing to ask: the image has a digest
	joined     result = "joined"     // somebody else was asking
	resolved   result = "resolved"   // the registry told
	refused    result = "refused"    // the registry said no
	resting    result = "resting"    // the registry was left alone
	failed     result = "failed"     // anything else, the caller's own end included
)

// Resolver tells where tags point to those who cannot wait long, and asks registries once where many want to know the
// same. Its methods may be called from any goroutine.
type Resolver struct {
	registries *Registries
	time       time.Duration // that a registry has
	lookups    *prometheus.CounterVec

	mu      sync.Mutex
	flights map[key]*flight // those of each namespace
	calls   map[key]*flight // those that have their turn, by their questions
	asking  map[string]int  // how many flights a namespace has
	known   *memory.Memory[key, *flight]
}

// NewResolver returns a Resolver that shares the limits of Registries. Each has some time for an answer, and a question as
// long before that for its turn.
func NewResolver(registries *Registries, time time.Duration, registerer prometheus.Registerer) (*Resolver, error) {
	r := &Resolver{
		registries: registries,
		time:       time,
		lookups: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kube_prepull_digest_lookups_total",
			Help: "Tags that an admission asked for, by result: remembered, joined (the same question was on its way), resolved, refused (401, 403 or 404), resting (the registry is left alone for a while) or failed.",
		}, []string{"result"}),
		flights: map[key]*flight{},
		calls:   map[key]*flight{},
		asking:  map[string]int{},
		known:   memory.New[key, *flight](maxAnswers),
	}
	if err := registerer.Register(r.lookups); err != nil {
		return nil, fmt.Errorf("registering the metric of digest lookups: %w", err)
	}
	for _, one := range []result{remembered, joined, resolved, refused, resting, failed} {
		r.lookups.WithLabelValues(string(one)) // every result is there from the start, with 0
	}
	return r, nil
}

// Resolve returns where the tag of an image points, such as sha256:0f3a…; to the index if there is one for many platforms.
// The auths are Docker configurations ({"auths": …}); an answer is shared only among those with the same logins for the
// repository. The namespace is that of the admission: who asks much, or asks slow registries, takes no place of others. A fresh
// one is not a remembered one, but may be that of a question already on its way. The errors can be shown to users: Refused tells of a registry that said no, and a *RestError of one that is not asked now. If ctx ends,
// only the caller gives up.
func (r *Resolver) Resolve(ctx context.Context, namespace, image string, auths [][]byte, fresh bool) (string, error) {
	digest, how, err := r.resolve(ctx, namespace, image, auths, fresh)
	r.lookups.WithLabelValues(string(how)).Inc()
	return digest, err
}

func (r *Resolver) resolve(ctx context.Context, namespace, image string, auths [][]byte, fresh bool) (string, result, error) {
	t, err := newTarget(image, auths)
	if err != nil {
		return "", failed, err
	}
	if digested, ok := t.named.(reference.Digested); ok {
		return digested.Digest().String(), remembered, nil
	}
	f, how, err := r.board(ctx, namespace, t, fresh)
	if err != nil {
		return "", failed, err
	}
	if how == remembered {
		return f.digest, how, f.err
	}
	select {
	case <-f.done:
	case <-ctx.Done():
		if how != joined {
			how = failed
		}
		return "", how, ctx.Err()
	}
	if how == resolved {
		how = f.result()
	}
	return f.digest, how, f.err
}
