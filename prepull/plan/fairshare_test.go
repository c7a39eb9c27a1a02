package plan

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/prepull/warmth"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// rowsOf are images in a class with a list, of which some fail.
func rowsOf(images []*Candidate, current []Listed, failing map[*Candidate]bool) []*ClassImage {
	rows := classImages(images, &warmth.Warmth{}, []*lane{{number: 1, current: current}})
	for _, row := range rows {
		if failing[row.Candidate] {
			row.verdict = verdict{standing: standingLast, retry: &v1alpha1.Retry{}}
		}
	}
	return rows
}

func candidatesOf(rows []*ClassImage) []*Candidate {
	var images []*Candidate
	for _, row := range rows {
		images = append(images, row.Candidate)
	}
	return images
}

// chooseAmong chooses among images of which some are listed and some fail.
func chooseAmong(images []*Candidate, current []Listed, failing map[*Candidate]bool, b budget) ([]*Candidate, map[*Candidate]skip) {
	chosen, left, over := choose(rowsOf(images, current, failing), b)
	skips := map[*Candidate]skip{}
	for i, row := range left {
		skips[row.Candidate] = over[i]
	}
	return candidatesOf(chosen), skips
}

func rankAmong(images []*Candidate, incumbent, failing map[*Candidate]bool) []*Candidate {
	rows := rowsOf(images, nil, failing)
	listed := map[*ClassImage]bool{}
	for _, row := range rows {
		listed[row] = incumbent[row.Candidate]
	}
	return candidatesOf(rank(rows, listed))
}

// wantedBy is a candidate of a size in bytes that some namespaces use.
func wantedBy(name string, starts float64, size int64, namespaces ...string) *Candidate {
	return &Candidate{Name: name, image: name, starts: starts, Size: size, namespaces: namespaces}
}

func TestNamespacesShareFairly(t *testing.T) {
	t.Parallel()
	declared := func(c *Candidate) *Candidate { c.declared = true; return c }
	flood := func(n int) []*Candidate {
		var images []*Candidate
		for i := range n {
			images = append(images, wantedBy(fmt.Sprintf("flood-%03d", i), 1000, 1, "flood"))
		}
		return images
	}
	for name, tc := range map[string]struct {
		images []*Candidate
		budget budget
		want   string
	}{
		"a tenant with 500 images does not push another one's off": {
			append(flood(500), wantedBy("x", 1, 1, "shop"), wantedBy("y", 2, 1, "shop")), budget{4, unbounded}, "flood-000 flood-001 y x",
		},
		"what one does not need goes to the other": {
			append(flood(500), wantedBy("x", 1, 1, "shop")), budget{4, unbounded}, "flood-000 flood-001 flood-002 x",
		},
		"a tenant with large images does not push another one's off": {
			[]*Candidate{wantedBy("a", 9, 60, "ml"), wantedBy("b", 8, 30, "ml"), wantedBy("x", 1, 40, "shop"), wantedBy("y", 1, 10, "shop")}, budget{9, 100}, "b y x",
		},
		"one namespace alone has it all": {
			[]*Candidate{wantedBy("a", 9, 60, "ml"), wantedBy("b", 8, 30, "ml"), wantedBy("c", 7, 20, "ml"), wantedBy("d", 6, 10, "ml")}, budget{9, 100}, "a b d",
		},
		"more namespaces than places, and the best of them get one": {
			[]*Candidate{wantedBy("a", 1, 1, "n1"), wantedBy("b", 2, 1, "n2"), wantedBy("c", 3, 1, "n3"), wantedBy("d", 4, 1, "n3")}, budget{2, unbounded}, "d b",
		},
		"declared images are not shared out": {
			append(flood(500), declared(wantedBy("d", 0, 1)), declared(wantedBy("e", 0, 1)), wantedBy("x", 1, 1, "shop")), budget{4, unbounded}, "d e flood-000 x",
		},
		"an image of two namespaces counts for one of them": {
			[]*Candidate{wantedBy("a", 9, 1, "n1", "n2"), wantedBy("b", 8, 1, "n1"), wantedBy("c", 7, 1, "n1"), wantedBy("x", 3, 1, "n2"), wantedBy("y", 2, 1, "n2"), wantedBy("z", 1, 1, "n2")},
			budget{4, unbounded}, "a b x y",
		},
		"who has got few bytes gets more images": {
			[]*Candidate{wantedBy("a", 9, 45, "ml"), wantedBy("b", 8, 10, "ml"), wantedBy("v", 4, 5, "shop"), wantedBy("w", 3, 5, "shop"), wantedBy("x", 2, 5, "shop"), wantedBy("y", 1, 50, "shop")},
			budget{9, 100}, "a b v w x",
		},
		"an image that there is no room for takes no share": {
			append(flood(500), wantedBy("a", 1, 200, "ml"), wantedBy("x", 1, 1, "shop"), wantedBy("y", 1, 1, "shop")), budget{4, 100}, "flood-000 flood-001 x y",
		},
		"images without a namespace have one share": {
			append(flood(500), wantedBy("a", 2, 1), wantedBy("b", 1, 1)), budget{4, unbounded}, "flood-000 flood-001 a b",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			chosen, _ := chooseAmong(tc.images, nil, nil, tc.budget)
			if diff := cmp.Diff(tc.want, namesOf(chosen)); diff != "" {
				t.Errorf("chosen (-want +got):\n%s", diff)
			}
		})
	}
}

func namesOf(images []*Candidate) string {
	var names []string
	for _, c := range images {
		names = append(names, c.Name)
	}
	return strings.Join(names, " ")
}

func TestAFailingImageRanksBehindTheWorkingOnesOfItsNamespace(t *testing.T) {
	t.Parallel()
	bad := wantedBy("bad", 99, 1, "shop")
	bad.autoscaled = true
	images := []*Candidate{bad, wantedBy("a", 1, 1, "shop"), wantedBy("b", 9, 1, "other"), wantedBy("c", 8, 1, "other")}
	chosen, _ := chooseAmong(images, nil, map[*Candidate]bool{bad: true}, budget{2, unbounded})
	if got := namesOf(chosen); got != "b a" {
		t.Errorf("chosen %s", got)
	}
}

func TestWhatIsLeftOutIsCounted(t *testing.T) {
	t.Parallel()
	images := []*Candidate{wantedBy("a", 9, 1, "n"), wantedBy("b", 8, 1, "n"), wantedBy("c", 7, 1, "n"), wantedBy("x", 1, 1, "m"), wantedBy("z", 0, 99, "m")}
	_, over := chooseAmong(images, nil, nil, budget{2, 50})
	var got []string
	for _, c := range images {
		if s, found := over[c]; found {
			got = append(got, c.Name+": "+s.why+s.detail)
		}
	}
	want := []string{
		"b: A node gets 2 images at most (maxImagesPerNode), and 2 go before this one. The last one with a place is x.",
		"c: A node gets 2 images at most (maxImagesPerNode), and 3 go before this one. The last one with a place is x.",
		"z: The images of a node take 50 B at most (maxBytesPerNode), and this one alone takes 99 B.",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("left out (-want +got):\n%s", diff)
	}
}

// market is what a choice is made from.
type market struct {
	images  []*Candidate
	current []Listed
	failing map[*Candidate]bool
	budget  budget
}

// randomMarket has few namespaces, equal ranks and budgets that are about as large as what is wanted.
func randomMarket(r *rand.Rand) market {
	m := market{failing: map[*Candidate]bool{}, budget: budget{images: r.IntN(20), bytes: int64(r.IntN(150))}}
	if r.IntN(4) == 0 {
		m.budget.bytes = unbounded
	}
	namespaces, maxSize := 1+r.IntN(6), 1+r.IntN(20)
	for i := range r.IntN(40) {
		c := wantedBy(fmt.Sprintf("i%02d", i), float64(r.IntN(12)), int64(1+r.IntN(maxSize)))
		c.since = time.Unix(int64(r.IntN(3)), 0)
		c.declared = r.IntN(10) == 0
		c.autoscaled = r.IntN(8) == 0
		c.priority = int32(r.IntN(8) / 7)
		for n := range namespaces {
			if r.IntN(namespaces) == 0 {
				c.namespaces = append(c.namespaces, fmt.Sprint("n", n))
			}
		}
		m.failing[c] = r.IntN(8) == 0
		m.images = append(m.images, c)
		if r.IntN(3) == 0 {
			m.current = append(m.current, Listed{Name: c.Name})
		}
	}
	return m
}

func TestAnyChoice(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20_000) {
		checkChoice(t, randomMarket(rand.New(rand.NewPCG(seed, 1))), rand.New(rand.NewPCG(seed, 2)))
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func FuzzChoose(f *testing.F) {
	for seed := range uint64(50) {
		f.Add(seed, seed*seed)
	}
	f.Fuzz(func(t *testing.T, a, b uint64) {
		checkChoice(t, randomMarket(rand.New(rand.NewPCG(a, b))), rand.New(rand.NewPCG(b, a)))
	})
}

// checkChoice holds for every choice.
func checkChoice(t *testing.T, m market, r *rand.Rand) {
	t.Helper()
	chosen, over := chooseAmong(m.images, m.current, m.failing, m.budget)
	if len(chosen)+len(over) != len(m.images) {
		t.Errorf("%d chosen and %d left out, of %d", len(chosen), len(over), len(m.images))
	}
	var used budget
	for _, c := range chosen {
		if !m.budget.fits(used, c) {
			t.Errorf("the budget is exceeded by %s", c.Name)
		}
		used = used.plus(c)
	}
	for c, skip := range over {
		if m.budget.fits(used, c) {
			t.Errorf("%s is left out and would fit", c.Name)
		}
		if slices.Contains(chosen, c) || skip.reason != "OverBudget" || skip.why == "" {
			t.Errorf("%s is left out: %+v", c.Name, skip)
		}
	}
	checkShares(t, m, chosen)
	if len(m.images) > 0 && len(namespacesOf(m)) <= 1 {
		checkRankOrder(t, m, chosen, over)
	}

	images, current := slices.Clone(m.images), slices.Clone(m.current)
	r.Shuffle(len(images), func(i, j int) { images[i], images[j] = images[j], images[i] })
	r.Shuffle(len(current), func(i, j int) { current[i], current[j] = current[j], current[i] })
	again, overAgain := chooseAmong(images, current, m.failing, m.budget)
	if diff := cmp.Diff(namesOf(chosen), namesOf(again)); diff != "" {
		t.Errorf("the choice depends on the order of its input:\n%s", diff)
	}
	for c, skip := range over {
		if overAgain[c] != skip {
			t.Errorf("why %s is left out depends on the order of the input", c.Name)
		}
	}

	var carriedOut []Listed
	for _, c := range chosen {
		carriedOut = append(carriedOut, Listed{Name: c.Name})
	}
	stays, _ := chooseAmong(m.images, carriedOut, m.failing, m.budget)
	byName := func(a, b *Candidate) int { return strings.Compare(a.Name, b.Name) }
	was, is := namesOf(slices.SortedFunc(slices.Values(chosen), byName)), namesOf(slices.SortedFunc(slices.Values(stays), byName))
	if diff := cmp.Diff(was, is); diff != "" {
		t.Errorf("the choice does not stay:\n%s", diff)
	}
}

// namespacesOf are the learned images by their namespace, including "" for none.
func namespacesOf(m market) map[string][]*Candidate {
	byNamespace := map[string][]*Candidate{}
	for _, c := range m.images {
		if c.declared {
			continue
		}
		for _, n := range c.namespaces {
			byNamespace[n] = append(byNamespace[n], c)
		}
		if len(c.namespaces) == 0 {
			byNamespace[""] = append(byNamespace[""], c)
		}
	}
	return byNamespace
}

// checkShares makes sure that a namespace which wants no more than its share gets it all.
func checkShares(t *testing.T, m market, chosen []*Candidate) {
	t.Helper()
	images, bytes := m.budget.images, m.budget.bytes
	for _, c := range chosen {
		if c.declared {
			images, bytes = images-1, bytes-c.Size
		}
	}
	byNamespace := namespacesOf(m)
	for namespace, wants := range byNamespace {
		var size int64
		for _, c := range wants {
			size += c.Size
		}
		n := len(byNamespace)
		if len(wants)*n > images || size > bytes/int64(n) {
			continue
		}
		for _, c := range wants {
			if !slices.Contains(chosen, c) {
				t.Errorf("namespace %q of %d wants %d of %d images and %d of %d bytes, and does not get %s", namespace, n, len(wants), images, size, bytes, c.Name)
			}
		}
	}
}

// checkRankOrder makes sure that the images of one namespace are passed over only where they do not fit behind the better
// ones.
func checkRankOrder(t *testing.T, m market, chosen []*Candidate, over map[*Candidate]skip) {
	t.Helper()
	incumbent := map[*Candidate]bool{}
	for _, c := range chosen {
		incumbent[c] = true
	}
	var used budget
	for _, c := range rankAmong(m.images, incumbent, m.failing) {
		_, left := over[c]
		if fits := m.budget.fits(used, c); fits == left {
			t.Errorf("%s fits behind the better ones: %v, and is left out: %v", c.Name, fits, left)
		}
		if !left {
			used = used.plus(c)
		}
	}
}

// BenchmarkChoose is a cluster with far more images than places, whose nodes have what is chosen.
func BenchmarkChoose(b *testing.B) {
	var images []*Candidate
	for i := range 5000 {
		images = append(images, wantedBy(workload.ObjectName(fmt.Sprintf("app-%d:v1", i)), float64(i*7919%1000), int64(1+i*104729%900)<<20, fmt.Sprint("team-", i*31%40)))
	}
	limit := budget{images: 50, bytes: 20 << 30}
	var current []Listed
	chosen, _ := chooseAmong(images, nil, nil, limit)
	for _, c := range chosen {
		current = append(current, Listed{Name: c.Name})
	}
	for name, current := range map[string][]Listed{"steady": current, "first": nil} {
		b.Run(name, func(b *testing.B) {
			rows := rowsOf(images, current, nil)
			b.ReportAllocs()
			for b.Loop() {
				choose(rows, limit)
			}
		})
	}
}
