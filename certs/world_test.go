package certs

import (
	"crypto/tls"
	"crypto/x509"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// The Secret of our own CA is deleted, damaged, and replaced with and without predecessors; cert-manager comes and goes,
// stops working, loses its CA or its certificate; leaders with other settings take over: at any time, and also while the
// last change is not over. An API server that is up to three seconds late accepts every replica at every moment, and in
// the end trusts nothing but what is wanted, and is served what is wanted.
func TestNothingThatHappensBreaksTrust(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		w := newWorld(t, rand.New(rand.NewPCG(seed, 1)))
		for range 300 {
			if w.random.IntN(20) == 0 {
				w.strike()
			}
			w.second()
		}
		w.working = true
		for range 160 {
			w.second()
		}
		w.checkEnd(seed)
	}
}

// world is a cluster: the Secrets, what is published, what API servers have heard of it, cert-manager, a leader and its
// replicas.
type world struct {
	t        *testing.T
	random   *rand.Rand
	now      time.Time
	stored   map[string][]byte // nil if it is deleted
	injected bool
	config   trust
	heard    []trust // what was published in the last seconds, the newest last
	mode     string  // of the leader
	leader   decision
	replicas []*tls.Certificate
	memories []*memory

	connected [3]*tls.Certificate // what API servers have seen of each replica
	unknown   [3]int              // for how many seconds with a certificate nobody will know of a replica yet

	served, working bool                // cert-manager's API, and its controllers
	issuer          *authority          // its CA
	ca, serving     map[string][]byte   // what it has written
	transported     []*x509.Certificate // what cainjector reads
	triggered       bool                // it has changed, and cainjector has not looked yet
	injection       injection
}

// memory is what a replica remembers.
type memory struct {
	own      ownCA
	handover handover
}

func newMemory() *memory {
	return &memory{own: ownCA{names: []string{"x"}}, handover: handover{settleTime: settleTime}}
}

func newLeader() decision { return decision{retiring: retiring{time: retireTime}} }

func newWorld(t *testing.T, random *rand.Rand) *world {
	a := mustAuthority(t, epoch)
	w := &world{t: t, random: random, now: epoch, mode: v1alpha1.CertificatesAuto, leader: newLeader(), stored: mustData(t, a), config: trust{a.trusted}, working: true}
	for range 3 {
		w.replicas, w.memories = append(w.replicas, mustLeaf(t, a, epoch)), append(w.memories, newMemory())
	}
	for range 4 {
		w.heard = append(w.heard, w.config)
	}
	return w
}

// strike does something.
func (w *world) strike() {
	switch w.random.IntN(8) {
	case 0, 1:
		w.strikeSecret()
	case 2:
		w.ca = nil
	case 3:
		w.serving = nil
	case 4:
		w.served = !w.served
	case 5:
		w.working = !w.working
	case 6:
		modes := []string{v1alpha1.CertificatesAuto, v1alpha1.CertificatesCertManager, v1alpha1.CertificatesSelfManaged}
		w.mode, w.leader = modes[w.random.IntN(3)], newLeader()
	case 7:
		i := w.random.IntN(len(w.replicas)) // a restart; it takes a while to be an endpoint
		w.unknown[i] = len(w.heard) - 1
		w.replicas[i], w.memories[i] = nil, newMemory()
	}
}

func (w *world) strikeSecret() {
	other := mustAuthority(w.t, w.now.Add(-caLifetime*3/4))
	switch before, err := parseAuthority(w.stored); w.random.IntN(4) {
	case 0:
		w.stored = nil
	case 1:
		w.stored = map[string][]byte{}
	case 2:
		w.stored = mustData(w.t, other)
	case 3:
		if err == nil {
			other.trusted = append(other.trusted, before.trusted...)
		}
		w.stored = mustData(w.t, other)
	}
}

// second lets everybody look at what there is, in any order, some of them not this time; then every API server connects
// to every replica that is ready.
func (w *world) second() {
	w.now = w.now.Add(time.Second)
	if w.random.IntN(200) == 0 {
		w.leader = newLeader() // another one
	}
	steps := []func(){w.lead, w.issue, w.inject}
	for i := range w.replicas {
		steps = append(steps, func() { w.replicate(i) })
	}
	w.random.Shuffle(len(steps), func(i, j int) { steps[i], steps[j] = steps[j], steps[i] })
	for _, step := range steps {
		if w.random.IntN(10) > 0 {
			step()
		}
	}
	w.heard = append(w.heard[1:], slices.Clone(w.config))
	w.connect()
}

// connect tries again only what is new since the last second: a certificate, or what API servers have heard.
func (w *world) connect() {
	for i, leaf := range w.replicas {
		if leaf != nil && w.unknown[i] > 0 {
			w.unknown[i]--
			continue
		}
		for late := range w.heard {
			behind := len(w.heard) - 1 - late
			if leaf == nil || leaf == w.connected[i] && behind > 0 {
				continue
			}
			if !w.heard[late].everywhere(leaf, w.now) {
				w.t.Fatalf("%s after the beginning an API server %d seconds behind does not trust replica %d", w.now.Sub(epoch), behind, i)
			}
		}
		w.connected[i] = leaf
	}
}

// lead does what the leader does, with cert-manager's objects applied at once.
func (w *world) lead() {
	made := parseIssued(w.serving, w.ca, "x")
	if w.mode == v1alpha1.CertificatesSelfManaged {
		made = &issued{}
	}
	s := situation{mode: w.mode, inUse: w.injected, apiServed: w.served, issued: made, published: w.config}
	next, stored, err := s.ownAuthority(secretWith(w.stored != nil, w.stored), w.now)
	if err != nil {
		w.t.Fatal(err)
	}
	s.own = next
	p := w.leader.publication(s, w.now)
	if len(p.trusted) == 0 {
		return
	}
	if p.certManager {
		changed := !slices.EqualFunc(w.transported, p.trusted, (*x509.Certificate).Equal)
		w.transported, w.triggered = p.trusted, w.triggered || changed
		if changed {
			w.injection.changed = w.now
		}
		if found := bundleOf(bundled(encodeBundle(w.config[0])), p.trusted); w.injected && w.now.Before(w.injection.leave(found, w.now)) {
			return
		}
	}
	w.injected, w.config = p.certManager, trust{p.trusted}
	if !stored {
		w.stored = mustData(w.t, next)
	}
}

// issue does what cert-manager does.
func (w *world) issue() {
	if !w.served || !w.working || w.mode == v1alpha1.CertificatesSelfManaged {
		return
	}
	if w.ca == nil {
		w.issuer = mustAuthority(w.t, w.now)
		w.ca = mustData(w.t, w.issuer)
		return
	}
	if i := parseIssued(w.serving, w.ca, "x"); i.current(w.now) {
		return
	}
	w.serving = mustServing(w.t, w.issuer, mustLeaf(w.t, w.issuer, w.now))
}

// inject does what cainjector does after the Secret has changed: it adds the CAs to those of a configuration that may be a
// second old.
func (w *world) inject() {
	if !w.injected || !w.working || !w.triggered {
		return
	}
	w.triggered = false
	cas := w.heard[len(w.heard)-1-w.random.IntN(2)][0]
	for _, ca := range w.transported {
		if !slices.ContainsFunc(cas, ca.Equal) {
			cas = append(cas[:len(cas):len(cas)], ca)
		}
	}
	w.config = trust{cas}
}

// replicate does what a replica does.
func (w *world) replicate(i int) {
	m := w.memories[i]
	m.own.authority, _ = parseAuthority(w.stored)
	if w.stored == nil && w.mode != v1alpha1.CertificatesCertManager {
		w.stored = mustData(w.t, mustAuthority(w.t, w.now))
	}
	origins := []origin{&m.own, parseIssued(w.serving, nil, "x")}
	if w.injected {
		slices.Reverse(origins)
	}
	leaf, _, err := m.handover.next(w.replicas[i], origins, w.config, w.now)
	if err != nil {
		w.t.Fatal(err)
	}
	w.replicas[i] = leaf
}

// checkEnd says whether all is settled as the mode wants it.
func (w *world) checkEnd(seed uint64) {
	made := parseIssued(w.serving, w.ca, "x")
	own, err := parseAuthority(w.stored)
	if err != nil && w.mode != v1alpha1.CertificatesCertManager {
		w.t.Fatal(err)
	}
	certManager := w.mode == v1alpha1.CertificatesAuto && w.served || w.mode == v1alpha1.CertificatesCertManager && (w.served || w.injected)
	if w.injected != certManager {
		w.t.Errorf("seed %d: with %s and its API served %v, cert-manager's certificates are served: %v", seed, w.mode, w.served, w.injected)
		return
	}
	if w.mode == v1alpha1.CertificatesCertManager && !w.served {
		return // whatever was there stays
	}
	var want []*x509.Certificate
	if certManager {
		want = append(want, made.trusted()...)
	}
	if w.mode != v1alpha1.CertificatesCertManager {
		want = append(want, own.trusted...)
	}
	for _, has := range w.config {
		if len(has) != len(want) || slices.ContainsFunc(want, func(ca *x509.Certificate) bool { return !slices.ContainsFunc(has, ca.Equal) }) {
			w.t.Errorf("seed %d: %d CAs are trusted in the end with %s, want %d", seed, len(has), w.mode, len(want))
		}
	}
	for i, leaf := range w.replicas {
		if served := leaf != nil && made.certificate != nil && leaf.Leaf.Equal(made.certificate.Leaf); served != certManager || leaf == nil {
			w.t.Errorf("seed %d: replica %d serves cert-manager's certificate: %v, want %v", seed, i, served, certManager)
		}
	}
}
