package plan

import (
	"cmp"
	"slices"
	"strings"
)

// assumedSize of an image that no node has reported yet, in bytes. It only has to be of a usual order of magnitude.
const assumedSize = 200 << 20

// entry is an image in the list of a class.
type entry struct {
	*Candidate

	// hot is set if a new node must have the image before it is called warm.
	hot bool

	// missing is set if most nodes of the class do not have the image yet.
	missing bool

	// atEnd is set if the image could not be pulled lately: nothing may wait behind it.
	atEnd bool

	// troubled is set if a node of the class cannot pull the image, or its registry asked for rest.
	troubled bool

	// held is set if the image is a volume of the waiting container, and not brought by an init container.
	held bool

	// always is set if the image is pulled at every start, and digest is what the list says that its tag points to; empty
	// if that is not known.
	always bool
	digest string
}

// order sorts the images of a class into the order in which its nodes pull them. The current order is kept while the
// set of images stays the same, except that an image which fails goes behind all others: a new order would restart a
// pod on every node and make nothing warmer.
//
// A new set is ordered anew. What holds up a node goes behind the rest, now that it costs no revision. What a new node is
// held for goes first. Of these, images that the nodes do not have go first, so that a new one is there after one pull and
// not after fifty no-ops. Then come those with the most starts per byte: the kubelet pulls one image after the other, and
// for such a queue Smith's rule gives the least weighted waiting.
func order(entries []entry, current []Listed) []entry {
	position := map[string]int{}
	for i, c := range current {
		position[c.Name] = i
	}
	sorted := slices.Clone(entries)
	if sameSet(sorted, position) {
		slices.SortFunc(sorted, func(a, b entry) int {
			return cmp.Or(trueFirst(!a.atEnd, !b.atEnd), cmp.Compare(position[a.Name], position[b.Name]))
		})
		return sorted
	}
	slices.SortFunc(sorted, func(a, b entry) int {
		return cmp.Or(
			trueFirst(!a.atEnd, !b.atEnd),
			trueFirst(!a.troubled, !b.troubled),
			trueFirst(a.hot, b.hot),
			trueFirst(a.missing, b.missing),
			cmp.Compare(b.startsPerByte(), a.startsPerByte()),
			strings.Compare(a.Name, b.Name),
		)
	})
	return sorted
}

func sameSet(entries []entry, position map[string]int) bool {
	return len(entries) == len(position) && !slices.ContainsFunc(entries, func(e entry) bool {
		_, found := position[e.Name]
		return !found
	})
}

func (c *Candidate) startsPerByte() float64 {
	if c.Size <= 0 {
		return c.starts / assumedSize
	}
	return c.starts / float64(c.Size)
}
