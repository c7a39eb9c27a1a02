package certs

import (
	"crypto/tls"
	"crypto/x509"
	"slices"
	"testing"
	"time"

	"github.com/kube-prepull/kube-prepull/api/clock"
)

// The clocks of the tests.
var (
	settleTime = clock.Production().SettleTime
	retireTime = clock.Production().RetireTime
)

func TestAReplicaGoesOverToACertificateThatIsTrustedForAWhile(t *testing.T) {
	t.Parallel()
	old, next := mustAuthority(t, epoch), mustAuthority(t, epoch)
	both := []*x509.Certificate{next.ca, old.ca}
	serving, goal := mustLeaf(t, old, epoch), mustLeaf(t, next, epoch)
	tests := map[string]struct {
		serving   *tls.Certificate
		published trust
		seen      time.Duration // how long the replica has known that the next one is trusted; negative is never
		want      *tls.Certificate
		wait      time.Duration
	}{
		"it has no certificate, and nothing is trusted":    {nil, trust{nil}, -1, goal, 0},
		"it has no certificate, and another CA is trusted": {nil, trust{{old.ca}}, -1, nil, 0},
		"there is no configuration":                        {serving, nil, -1, goal, 0},
		"its certificate is of no use":                     {serving, trust{{next.ca}}, -1, goal, 0},
		"the new CA is not published":                      {serving, trust{{old.ca}}, -1, serving, settleTime},
		"the new CA is published in one webhook of two":    {serving, trust{both, {old.ca}}, -1, serving, settleTime},
		"it is no longer published":                        {serving, trust{{old.ca}}, settleTime, serving, settleTime},
		"it has just been published":                       {serving, trust{both, both}, -1, serving, settleTime},
		"it was published a second ago":                    {serving, trust{both, both}, time.Second, serving, settleTime - time.Second},
		"it was published long ago":                        {serving, trust{both, both}, settleTime, goal, 0},
		"it was published, and the old CA is gone already": {serving, trust{{next.ca}, {next.ca}}, time.Second, goal, 0},
		"it serves it":                                     {goal, trust{both}, -1, goal, 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := handover{settleTime: settleTime}
			if test.seen >= 0 {
				h = handover{settleTime: settleTime, leaf: goal.Leaf, since: epoch.Add(-test.seen)}
			}
			got, wait, err := h.next(test.serving, []origin{&issued{certificate: goal}, &issued{}}, test.published, epoch)
			if err != nil || got != test.want || wait != test.wait {
				t.Errorf("it serves the next one: %v, in %s (%v), want %v, in %s", got == goal, wait, err, test.want == goal, test.wait)
			}
		})
	}
}

// A replica has a certificate of its own CA or none, and cert-manager's may be there; the leader wants the one or the
// other to be served.
func TestAReplicaServesWhatIsTrustedBeforeWhatIsWanted(t *testing.T) {
	t.Parallel()
	self, cm := mustAuthority(t, epoch), mustAuthority(t, epoch)
	own := mustLeaf(t, self, epoch)
	theirs := mustLeaf(t, cm, epoch)
	short := mustAuthority(t, epoch.Add(-caLifetime+time.Minute))
	dying := mustLeaf(t, short, epoch)
	all := trust{{self.ca, cm.ca, short.ca}}
	tests := map[string]struct {
		serving     *tls.Certificate
		certManager bool
		issued      *tls.Certificate
		noCA        bool
		published   trust
		after       time.Duration
		want        *tls.Certificate
	}{
		"the first one, before anything is published":        {nil, false, nil, false, trust{nil}, 0, own},
		"a new replica takes what is wanted":                 {nil, true, theirs, false, all, 0, theirs},
		"a new replica takes what is wanted, the other way":  {nil, false, theirs, false, all, 0, own},
		"a new replica takes what is trusted":                {nil, true, theirs, false, trust{{self.ca}}, 0, own},
		"a new replica takes what is trusted, the other way": {nil, false, theirs, false, trust{{cm.ca}}, 0, theirs},
		"cert-manager's is lost: a new replica has its own":  {nil, true, nil, false, all, 0, own},
		"cert-manager's is lost: what is served stays":       {theirs, true, nil, false, all, 0, theirs},
		"cert-manager's is lost and ends: the own one":       {dying, true, nil, false, all, 2 * time.Minute, own},
		"our own CA is lost: what is served stays":           {own, false, theirs, true, all, 0, own},
		"our own CA is lost: a new replica has the other":    {nil, false, theirs, true, all, 0, theirs},
		"nothing at all": {nil, true, nil, true, all, 0, nil},
		"nothing else, and what is served is trusted no more": {own, true, nil, true, trust{nil}, 0, own},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			origins := []origin{&ownCA{authority: self, names: []string{"x"}, last: own}, &issued{certificate: test.issued}}
			if test.noCA {
				origins[0] = &ownCA{}
			}
			if test.certManager {
				slices.Reverse(origins)
			}
			h := handover{settleTime: settleTime}
			got, _, err := h.next(test.serving, origins, test.published, epoch.Add(test.after))
			if err != nil || got != test.want {
				name := map[*tls.Certificate]string{own: "its own", theirs: "cert-manager's", dying: "the dying", nil: "none"}
				t.Errorf("it serves %s (%v), want %s", name[got], err, name[test.want])
			}
		})
	}
}

func TestAReplicaCountsForEachCertificate(t *testing.T) {
	t.Parallel()
	old, first, second := mustAuthority(t, epoch), mustAuthority(t, epoch), mustAuthority(t, epoch)
	all := trust{{second.ca, first.ca, old.ca}}
	serving, goal := mustLeaf(t, old, epoch), mustLeaf(t, second, epoch)
	h := handover{settleTime: settleTime, leaf: mustLeaf(t, first, epoch).Leaf, since: epoch.Add(-time.Hour)}
	if got := h.wait(serving, goal, all, epoch); got != settleTime {
		t.Errorf("it waits for %s for another certificate, want %s", got, settleTime)
	}
	if got := h.wait(serving, goal, all, epoch.Add(settleTime)); got != 0 {
		t.Errorf("then it waits for %s more", got)
	}
	// For a while it is to serve what it serves.
	h.wait(serving, serving, all, epoch.Add(time.Minute))
	if got := h.wait(serving, goal, all, epoch.Add(time.Hour)); got != settleTime {
		t.Errorf("it waits for %s for one that was to be served before, want %s", got, settleTime)
	}
}

func TestAPublishedCAThatNobodyWantsStaysForAWhile(t *testing.T) {
	t.Parallel()
	next, old, older := mustAuthority(t, epoch), mustAuthority(t, epoch), mustAuthority(t, epoch)
	expired := mustAuthority(t, epoch.Add(-caLifetime))
	f := retiring{time: retireTime}
	held := false
	check := func(after time.Duration, published trust, want []*x509.Certificate, wantUntil time.Duration) {
		t.Helper()
		stay, until := f.staying(published, next.trusted, held, epoch.Add(after))
		if !slices.EqualFunc(stay, want, (*x509.Certificate).Equal) {
			t.Errorf("after %s there are %d staying, want %d", after, len(stay), len(want))
		}
		if len(want) == 0 && !until.IsZero() || len(want) > 0 && !until.Equal(epoch.Add(wantUntil)) {
			t.Errorf("after %s they stay until %s, want %s after the beginning", after, until, wantUntil)
		}
	}
	only := []*x509.Certificate{old.ca}
	check(0, trust{{next.ca}, {next.ca}}, nil, 0)
	check(0, trust{{next.ca, old.ca, expired.ca}, {next.ca, old.ca}}, only, retireTime)
	check(time.Second, trust{{next.ca, old.ca}, {next.ca, older.ca}}, []*x509.Certificate{old.ca, older.ca}, retireTime)
	check(retireTime, trust{{next.ca, old.ca, older.ca}}, []*x509.Certificate{older.ca}, retireTime+time.Second)
	check(retireTime+time.Second, trust{{next.ca, older.ca}}, nil, 0)
	check(retireTime+2*time.Second, trust{{next.ca}}, nil, 0)
	// Its time begins anew as long as what is wanted is not published everywhere, and while it is held.
	const hour = time.Hour
	check(hour, trust{{old.ca}, {next.ca, old.ca}}, only, hour+retireTime)
	check(2*hour, trust{{old.ca}, {next.ca, old.ca}}, only, 2*hour+retireTime)
	check(2*hour+time.Second, trust{{next.ca, old.ca}}, only, 2*hour+retireTime)
	held = true
	check(3*hour, trust{{next.ca, old.ca}}, only, 3*hour+retireTime)
	held = false
	check(3*hour+retireTime, trust{{next.ca, old.ca}}, nil, 0)
	check(4*hour, trust{{next.ca}}, nil, 0)
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

func mustLeaf(t *testing.T, a *authority, now time.Time) *tls.Certificate {
	t.Helper()
	leaf, err := a.leaf([]string{"x"}, now)
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}
