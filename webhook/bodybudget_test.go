package webhook

import (
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
)

// entering has clients take room in turn, and returns who was told to leave and who got none.
func entering(r *bodyBudget, sizes ...[2]any) (left, refused []string) {
	for i, s := range sizes {
		client, size := s[0].(string), int64(s[1].(int))
		name := client + strconv.Itoa(i)
		if r.reserve(client, size, func() { left = append(left, name) }) == nil {
			refused = append(refused, name)
		}
	}
	return left, refused
}

func TestWhoHasMostGivesWay(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		sizes         [][2]any
		left, refused []string
	}{
		"there is room for all":            {[][2]any{{"a", 50}, {"b", 50}}, nil, nil},
		"the oldest goes first":            {[][2]any{{"a", 60}, {"a", 40}, {"b", 10}}, []string{"a0"}, nil},
		"as many go as it takes":           {[][2]any{{"a", 20}, {"a", 20}, {"a", 60}, {"b", 30}}, []string{"a0", "a1"}, nil},
		"of the client that has most":      {[][2]any{{"a", 30}, {"b", 35}, {"b", 35}, {"c", 10}}, []string{"b1"}, nil},
		"not for one that would have most": {[][2]any{{"a", 60}, {"b", 40}, {"b", 30}}, nil, []string{"b2"}},
		"not for the same client":          {[][2]any{{"a", 60}, {"a", 40}, {"a", 1}}, nil, []string{"a2"}},
		"what never fits":                  {[][2]any{{"a", 100}, {"b", 101}}, nil, []string{"b1"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			left, refused := entering(newBodyBudget(100), test.sizes...)
			if !slices.Equal(left, test.left) || !slices.Equal(refused, test.refused) {
				t.Errorf("%v left and %v got none, want %v and %v", left, refused, test.left, test.refused)
			}
		})
	}
}

func TestABodyThatIsReadStays(t *testing.T) {
	t.Parallel()
	r := newBodyBudget(100)
	r.keep(r.reserve("a", 100, func() { t.Error("it was told to leave") }))
	if r.reserve("b", 1, nil) != nil {
		t.Error("there is room that is taken")
	}
}

// TestARoomIsNeverOverfull takes and gives back at random: what is in it never exceeds it, nobody is told to leave who has
// no more than the one that comes, and in the end it is empty.
func TestARoomIsNeverOverfull(t *testing.T) {
	t.Parallel()
	const limit = 1000
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 0))
		r, inside, held := newBodyBudget(limit), map[*reservation]bool{}, map[string]int64{}
		for range 200 {
			if random.IntN(3) == 0 {
				for g := range inside {
					r.keep(g)
					r.release(g)
					held[g.client] -= g.size
					delete(inside, g)
					break
				}
				continue
			}
			client, size := strconv.Itoa(random.IntN(5)), random.Int64N(300)
			g := r.reserve(client, size, func() {})
			before := maps.Clone(held)
			for other := range inside {
				if !other.aborted {
					continue
				}
				if before[other.client] <= before[client]+size {
					t.Fatalf("seed %d: %s with %d gave way to %s with %d", seed, other.client, before[other.client], client, before[client]+size)
				}
				held[other.client] -= other.size
				delete(inside, other)
			}
			if g != nil {
				inside[g] = true
				held[client] += size
			}
			sum := int64(0)
			for g := range inside {
				sum += g.size
			}
			if sum > limit || sum+r.free != limit {
				t.Fatalf("seed %d: %d are inside, and %d free of %d", seed, sum, r.free, limit)
			}
		}
		for g := range inside {
			r.release(g)
		}
		if r.free != limit || len(r.used) > 0 || len(r.reading) > 0 {
			t.Fatalf("seed %d: in the end %+v is left", seed, r)
		}
	}
}
