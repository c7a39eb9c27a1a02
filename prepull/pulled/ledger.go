package pulled

import (
	"cmp"
	"time"
	"unique"
)

// maxPlaces is how many pulls a Ledger knows at least, if there were as many; it forgets the oldest ones. They are those of
// 50 images on 1,000 nodes.
const maxPlaces = 50_000

// Ledger keeps what pre-pulling saved. A pull that a prepull pod made is worth something once: to the first container that
// then starts on the node with the image. Those after it would have found the image anyway. The zero Ledger is empty.
type Ledger struct {
	recent, older map[place]time.Duration
	limit         int // 0 is maxPlaces
}

// place is an image, as it is written, on a node.
type place struct{ node, image unique.Handle[string] }

// Enter takes a start, ours if it is that of a container of a prepull pod, and returns the time that it was saved. Starts
// have to come in the order in which they happened.
func (l *Ledger) Enter(s Start, ours bool) time.Duration {
	at := place{unique.Make(s.Node), unique.Make(s.Name)}
	if !ours {
		// A container that had to pull shows that what was pulled before is gone.
		took := l.take(at)
		if s.Present {
			return took
		}
		return 0
	}
	if !s.Present {
		l.put(at, s.Took)
	}
	return 0
}

func (l *Ledger) put(at place, took time.Duration) {
	if l.recent == nil || len(l.recent) >= cmp.Or(l.limit, maxPlaces) {
		l.recent, l.older = map[place]time.Duration{}, l.recent
	}
	delete(l.older, at)
	l.recent[at] = took
}

func (l *Ledger) take(at place) time.Duration {
	took, found := l.recent[at]
	if !found {
		took = l.older[at]
	}
	delete(l.recent, at)
	delete(l.older, at)
	return took
}
