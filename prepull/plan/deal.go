package plan

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// maxUneven is how many times as much as after a fresh deal the heaviest lane may have before all is dealt anew.
const maxUneven = 1.5

// deal gives each of the images of a class its lane, so that a node that has none of them is done with all lanes at about the
// same time: the largest ones go first, each to the lane with the least. That takes 4/3 of the best time at most (LPT, Graham
// 1969). An image that is in a list stays in its lane, or while it moves goes to the one of both with less, unless the lanes are
// so uneven then that a new node would wait: each move makes new lists. After a fresh deal, and when its moves are half done,
// this gives the same again.
func deal(images []*ClassImage, lanes int) {
	largest := slices.SortedFunc(slices.Values(images), func(a, b *ClassImage) int {
		return cmp.Or(cmp.Compare(b.bytes(), a.bytes()), strings.Compare(a.Name, b.Name))
	})
	fresh, best := dealt(largest, lanes, func(*ClassImage) []int { return nil })
	kept, most := dealt(largest, lanes, func(i *ClassImage) []int { return i.in })
	if float64(most) > maxUneven*float64(best) {
		kept = fresh
	}
	for i, image := range largest {
		image.lane = kept[i]
	}
}

// dealt are the lanes of images, largest first, and the bytes in the heaviest one. in are those that an image stays in, of which it
// needs none.
func dealt(largest []*ClassImage, lanes int, in func(*ClassImage) []int) (dealt []int, heaviest int64) {
	load := map[int]int64{}
	for number := 1; number <= lanes; number++ {
		load[number] = 0
	}
	all := slices.Sorted(maps.Keys(load))
	for _, image := range largest {
		open := slices.DeleteFunc(slices.Clone(in(image)), func(number int) bool { return number > lanes })
		if len(open) == 0 {
			open = all
		}
		lane := slices.MinFunc(open, func(a, b int) int { return cmp.Compare(load[a], load[b]) })
		load[lane] += image.bytes()
		dealt, heaviest = append(dealt, lane), max(heaviest, load[lane])
	}
	return dealt, heaviest
}
