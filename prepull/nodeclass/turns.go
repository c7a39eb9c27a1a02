package nodeclass

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// rank is how much a trait is worth where not all of them can tell classes apart; less is more.
type rank struct {
	trait

	// turn is the first place that it has among what a namespace asks for, and votes how many have it there.
	turn, votes int

	// parts is into how many parts it divides the nodes, as far as that matters.
	parts int
}

// isRestricted tells whether no node may give itself the label (plugin/pkg/admission/noderestriction): only such labels keep
// nodes apart that do not trust each other.
func (t trait) isRestricted() bool {
	prefix, _, prefixed := strings.Cut(t.name, "/")
	return !t.resource && prefixed && (prefix == corev1.LabelNamespaceNodeRestriction || strings.HasSuffix(prefix, "."+corev1.LabelNamespaceNodeRestriction))
}

// ranked are traits in the order in which they may tell classes apart: first labels that no node may give itself, then what
// namespaces ask for in turn, in one turn what most of them ask for, then what makes the fewest parts. So a namespace that asks
// for ever more takes nothing from those that ask for little. What makes more than most parts is of no use.
func (x placementIndex) ranked(traits []trait, shapes []*shape, offered supply, most int) []trait {
	ranks := make(map[trait]*rank, len(traits))
	for _, t := range traits {
		ranks[t] = &rank{trait: t, turn: math.MaxInt, parts: partition{of: make([]int, len(shapes))}.by(t, shapes, offered, most).parts}
	}
	for _, asked := range x.askedBy() {
		var list []*rank
		for t := range asked {
			// What tells nothing apart takes no turn.
			if r := ranks[t]; r != nil && r.parts > 1 {
				list = append(list, r)
			}
		}
		slices.SortFunc(list, func(a, b *rank) int {
			return cmp.Or(trueLast(!a.isRestricted(), !b.isRestricted()), trueLast(!asked[a.trait], !asked[b.trait]), a.parts-b.parts, compareTraits(a.trait, b.trait))
		})
		for turn, r := range list {
			switch {
			case turn < r.turn:
				r.turn, r.votes = turn, 1
			case turn == r.turn:
				r.votes++
			}
		}
	}
	sorted := slices.SortedFunc(maps.Values(ranks), func(a, b *rank) int {
		return cmp.Or(trueLast(!a.isRestricted(), !b.isRestricted()), cmp.Compare(a.turn, b.turn), b.votes-a.votes, a.parts-b.parts, compareTraits(a.trait, b.trait))
	})
	order := make([]trait, len(sorted))
	for i, r := range sorted {
		order[i] = r.trait
	}
	return order
}

// askedBy are the traits that each namespace asks for: true if an image of nobody else does. What an image of several
// namespaces asks for may be the wish of any of them.
func (x placementIndex) askedBy() map[string]map[trait]bool {
	asked := map[string]map[trait]bool{}
	for image, placements := range x.of {
		for _, namespace := range x.namespaces[image] {
			if asked[namespace] == nil {
				asked[namespace] = map[trait]bool{}
			}
			alone := len(x.namespaces[image]) == 1
			for _, p := range placements {
				for _, t := range x.placements[p].traits {
					asked[namespace][t] = asked[namespace][t] || alone
				}
			}
		}
	}
	return asked
}

// partition divides shapes into numbered parts.
type partition struct {
	of    []int
	parts int
}

// by divides the parts further, by a trait, and stops where there are more than most of them.
func (p partition) by(t trait, shapes []*shape, offered supply, most int) partition {
	return p.divide(most, func(i int) (string, bool) { return offered.traitOf(shapes[i].nodes[0], t) })
}

// divide divides the parts further, by what each shape has, and stops where there are more than most of them.
func (p partition) divide(most int, has func(shape int) (string, bool)) partition {
	type part struct {
		number int
		value  string
		found  bool
	}
	numbers := map[part]int{}
	finer := partition{of: make([]int, len(p.of))}
	for i, number := range p.of {
		value, found := has(i)
		key := part{number, value, found}
		if _, known := numbers[key]; !known {
			numbers[key] = len(numbers)
		}
		if len(numbers) > most {
			break
		}
		finer.of[i] = numbers[key]
	}
	finer.parts = len(numbers)
	return finer
}
