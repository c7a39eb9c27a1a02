package certs

import (
	"crypto/tls"
	"crypto/x509"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAReplicaGoesOverToACAThatIsPublishedForAWhile(t *testing.T) {
	t.Parallel()
	old, next := mustAuthority(t, epoch), mustAuthority(t, epoch)
	both := []*x509.Certificate{next.ca, old.ca}
	leaf := mustLeaf(t, old, epoch)
	tests := map[string]struct {
		leaf      *tls.Certificate
		published trust
		seen      time.Duration // how long the replica has known that the new CA is published; negative is never
		want      time.Duration
	}{
		"it has no certificate":                            {nil, trust{{old.ca}}, -1, 0},
		"there is no configuration":                        {leaf, nil, -1, 0},
		"its certificate is of no use":                     {leaf, trust{{next.ca}}, -1, 0},
		"the new CA is not published":                      {leaf, trust{{old.ca}}, -1, settleTime},
		"the new CA is published in one webhook of two":    {leaf, trust{both, {old.ca}}, -1, settleTime},
		"it is no longer published":                        {leaf, trust{{old.ca}}, settleTime, settleTime},
		"it has just been published":                       {leaf, trust{both, both}, -1, settleTime},
		"it was published a second ago":                    {leaf, trust{both, both}, time.Second, settleTime - time.Second},
		"it was published long ago":                        {leaf, trust{both, both}, settleTime, 0},
		"it was published, and the old CA is gone already": {leaf, trust{{next.ca}, {next.ca}}, time.Second, 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := handover{}
			if test.seen >= 0 {
				h = handover{ca: next.ca, since: epoch.Add(-test.seen)}
			}
			if got := h.wait(test.leaf, next, test.published, epoch); got != test.want {
				t.Errorf("it waits for %s, want %s", got, test.want)
			}
		})
	}
}

func TestAReplicaCountsForEachCA(t *testing.T) {
	t.Parallel()
	old, first, second := mustAuthority(t, epoch), mustAuthority(t, epoch), mustAuthority(t, epoch)
	all := trust{{second.ca, first.ca, old.ca}}
	leaf := mustLeaf(t, old, epoch)
	h := handover{ca: first.ca, since: epoch.Add(-time.Hour)}
	if got := h.wait(leaf, second, all, epoch); got != settleTime {
		t.Errorf("it waits for %s for another CA, want %s", got, settleTime)
	}
	if got := h.wait(leaf, second, all, epoch.Add(settleTime)); got != 0 {
		t.Errorf("then it waits for %s more", got)
	}
}

func TestAPublishedCAThatNobodyTrustsStaysForAWhile(t *testing.T) {
	t.Parallel()
	next, old, older := mustAuthority(t, epoch), mustAuthority(t, epoch), mustAuthority(t, epoch)
	expired := mustAuthority(t, epoch.Add(-caLifetime))
	var f farewell
	check := func(after time.Duration, published trust, want []*x509.Certificate, wantUntil time.Duration) {
		t.Helper()
		stay, until := f.staying(published, next, epoch.Add(after))
		if !slices.EqualFunc(stay, want, (*x509.Certificate).Equal) {
			t.Errorf("after %s there are %d staying, want %d", after, len(stay), len(want))
		}
		if len(want) == 0 && !until.IsZero() || len(want) > 0 && !until.Equal(epoch.Add(wantUntil)) {
			t.Errorf("after %s they stay until %s, want %s after the beginning", after, until, wantUntil)
		}
	}
	check(0, trust{{next.ca}, nil}, nil, 0)
	check(0, trust{{old.ca, expired.ca}, {old.ca}}, []*x509.Certificate{old.ca}, farewellTime)
	check(time.Second, trust{{next.ca, old.ca}, {older.ca}}, []*x509.Certificate{old.ca, older.ca}, farewellTime)
	check(farewellTime, trust{{next.ca, old.ca, older.ca}}, []*x509.Certificate{older.ca}, farewellTime+time.Second)
	check(farewellTime+time.Second, trust{{next.ca, older.ca}}, nil, 0)
	check(farewellTime+2*time.Second, trust{{next.ca}}, nil, 0)
	if len(f.since) > 0 {
		t.Errorf("%d CAs are remembered that are not published", len(f.since))
	}
}

func TestABundleIsReadUpToWhatIsDamaged(t *testing.T) {
	t.Parallel()
	a := mustAuthority(t, epoch)
	damaged := []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
	tests := map[string]struct {
		bundle []byte
		want   int
		err    bool
	}{
		"empty":               {nil, 0, false},
		"words":               {[]byte("words"), 0, false},
		"one":                 {a.bundle(), 1, false},
		"one, then a damaged": {append(a.bundle(), damaged...), 1, true},
		"a damaged, then one": {append(slices.Clone(damaged), a.bundle()...), 0, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cas, err := parseBundle(test.bundle)
			if len(cas) != test.want || (err != nil) != test.err {
				t.Errorf("%d CAs and %v, want %d", len(cas), err, test.want)
			}
		})
	}
}

// The Secret is deleted, damaged, and replaced with and without predecessors, at any time and also while the last change
// is not over. An API server that is up to three seconds late accepts every replica at every moment, and in the end
// trusts nothing but what the Secret says.
func TestNothingThatHappensToTheSecretBreaksTrust(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		w := newWorld(t, rand.New(rand.NewPCG(seed, 1)))
		for range 300 {
			if w.random.IntN(20) == 0 {
				w.strike()
			}
			w.second()
		}
		for range 60 {
			w.second()
		}
		a, err := parseAuthority(w.stored)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(a.bundle()), string(w.published)); diff != "" {
			t.Errorf("seed %d: in the end it is not the Secret's CAs that are trusted (-want +got):\n%s", seed, diff)
		}
	}
}

// world is a cluster: the Secret, what is published, what API servers have heard of it, a leader and its replicas.
type world struct {
	t         *testing.T
	random    *rand.Rand
	now       time.Time
	stored    map[string][]byte
	published []byte
	heard     [][]byte // what was published in the last seconds, the newest last
	leader    farewell
	replicas  []*tls.Certificate
	handovers []handover
}

func newWorld(t *testing.T, random *rand.Rand) *world {
	a := mustAuthority(t, epoch)
	w := &world{t: t, random: random, now: epoch, stored: mustData(t, a), published: a.bundle()}
	for range 3 {
		w.replicas, w.handovers = append(w.replicas, mustLeaf(t, a, epoch)), append(w.handovers, handover{})
	}
	for range 4 {
		w.heard = append(w.heard, w.published)
	}
	return w
}

// strike does something to the Secret. A replica makes another one at once if it is deleted.
func (w *world) strike() {
	before, err := parseAuthority(w.stored)
	if err != nil {
		return
	}
	switch other := mustAuthority(w.t, w.now.Add(-caLifetime*3/4)); w.random.IntN(4) {
	case 0:
		w.stored = mustData(w.t, mustAuthority(w.t, w.now))
	case 1:
		w.stored = map[string][]byte{}
	case 2:
		w.stored = mustData(w.t, other)
	case 3:
		other.trusted = append(other.trusted, before.trusted...)
		w.stored = mustData(w.t, other)
	}
}

// second lets the leader and the replicas look at what there is, in any order, some of them not this time; then every API
// server connects to every replica.
func (w *world) second() {
	w.now = w.now.Add(time.Second)
	if w.random.IntN(200) == 0 {
		w.leader = farewell{} // another one
	}
	steps := []func(){w.lead}
	for i := range w.replicas {
		steps = append(steps, func() { w.replicate(i) })
	}
	w.random.Shuffle(len(steps), func(i, j int) { steps[i], steps[j] = steps[j], steps[i] })
	for _, step := range steps {
		if w.random.IntN(10) > 0 {
			step()
		}
	}
	w.heard = append(w.heard[1:], w.published)
	for i, leaf := range w.replicas {
		for late, bundle := range w.heard {
			cas, err := parseBundle(bundle)
			if err != nil {
				w.t.Fatal(err)
			}
			if !verifies(leaf, cas, w.now) {
				w.t.Fatalf("%s after the beginning an API server %d seconds behind does not trust replica %d", w.now.Sub(epoch), len(w.heard)-1-late, i)
			}
		}
	}
}

func (w *world) lead() {
	next, stored, err := planAuthority(w.stored, w.now)
	if err != nil {
		w.t.Fatal(err)
	}
	stay, _ := w.leader.staying(w.trust(), next, w.now)
	w.published = append(next.bundle(), encodeBundle(stay)...)
	if !stored {
		w.stored = mustData(w.t, next)
	}
}

func (w *world) replicate(i int) {
	a, err := parseAuthority(w.stored)
	if err != nil || !leafDue(w.replicas[i], a, w.now) || w.handovers[i].wait(w.replicas[i], a, w.trust(), w.now) > 0 {
		return
	}
	w.replicas[i] = mustLeaf(w.t, a, w.now)
}

func (w *world) trust() trust {
	cas, err := parseBundle(w.published)
	if err != nil {
		w.t.Fatal(err)
	}
	return trust{cas}
}

func mustLeaf(t *testing.T, a *authority, now time.Time) *tls.Certificate {
	t.Helper()
	leaf, err := a.leaf([]string{"x"}, now)
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}
