package learn

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// lookup says that something should be read soon: what, and on account of how many admissions.
type lookup struct {
	lookupKey
	// client is who sent the review: of several, one that had the fewest lookups waiting.
	client string
	// admissions is how many hints led here.
	admissions int
	// attempt counts the lookups that went before, in vain.
	attempt int
	due     time.Time
}

// lookupQueue holds the lookups that are due now or later, one for each key, up to a bound, of which one namespace may
// take a quarter. Where there is no room, the client that has the most lookups gives way to one that has fewer: a flood of
// reviews from a pod does not keep out what API servers send.
type lookupQueue struct {
	limit   int
	mu      sync.Mutex
	lookups map[lookupKey]*lookup
	// waiting is how many of the lookups are at keys of a namespace.
	waiting map[string]int
	shares  shares
	order   lookupHeap
	wake    chan struct{}
}

func newLookupQueue(limit int) *lookupQueue {
	return &lookupQueue{limit: limit, lookups: map[lookupKey]*lookup{}, waiting: map[string]int{}, shares: shares{}, wake: make(chan struct{}, 1)}
}

// add queues a lookup, or adds its admissions to the lookup that waits for the same key, which keeps its time. It never
// blocks; it returns false if the queue, or the namespace's share of it, is full.
func (q *lookupQueue) add(l lookup) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if waiting := q.lookups[l.lookupKey]; waiting != nil {
		waiting.admissions += l.admissions
		waiting.attempt = min(waiting.attempt, l.attempt)
		if q.shares[everywhere][l.client] < q.shares[everywhere][waiting.client] {
			q.shares.add(waiting, -1)
			waiting.client = l.client
			q.shares.add(waiting, 1)
		}
		return true
	}
	if !q.roomFor(&l) {
		return false
	}
	q.lookups[l.lookupKey] = &l
	q.waiting[l.namespace]++
	q.shares.add(&l, 1)
	heap.Push(&q.order, &l)
	q.signal()
	return true
}

// roomFor makes room for a lookup if there is none and another has to give way: the last one of its client.
func (q *lookupQueue) roomFor(l *lookup) bool {
	scope := everywhere
	switch {
	case 4*q.waiting[l.namespace] >= q.limit:
		scope = l.namespace
	case len(q.lookups) < q.limit:
		return true
	}
	client := q.shares[scope].Most()
	if !q.shares[scope].GivesWay(client, l.client, 1) {
		return false
	}
	last := -1
	for i, other := range q.order {
		if other.client == client && (scope == everywhere || other.namespace == scope) && (last < 0 || q.order[last].due.Before(other.due)) {
			last = i
		}
	}
	q.forget(heap.Remove(&q.order, last).(*lookup))
	return true
}

// forget takes a lookup that has left the order off the books.
func (q *lookupQueue) forget(l *lookup) {
	delete(q.lookups, l.lookupKey)
	if q.waiting[l.namespace]--; q.waiting[l.namespace] == 0 {
		delete(q.waiting, l.namespace)
	}
	q.shares.add(l, -1)
}

// crowded is true while more than half of the queue is taken.
func (q *lookupQueue) crowded() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return 2*len(q.lookups) > q.limit
}

// take waits for the next lookup that is due; it returns false when ctx ends. A hint that arrives after take is a new
// lookup, so nothing that happens while the object is read is missed.
func (q *lookupQueue) take(ctx context.Context) (lookup, bool) {
	for ctx.Err() == nil {
		l, wait := q.pop(time.Now())
		if l != nil {
			return *l, true
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-q.wake:
		case <-ctx.Done():
		}
		timer.Stop()
	}
	return lookup{}, false
}

// pop removes the first lookup if it is due, otherwise it returns how long to wait for it.
func (q *lookupQueue) pop(now time.Time) (*lookup, time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.order) == 0 {
		return nil, time.Hour
	}
	if wait := q.order[0].due.Sub(now); wait > 0 {
		return nil, wait
	}
	l := heap.Pop(&q.order).(*lookup)
	q.forget(l)
	// Another taker may be waiting for a time that this lookup kept it from learning.
	q.signal()
	return l, 0
}

func (q *lookupQueue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// lookupHeap orders lookups by the time that they are due.
type lookupHeap []*lookup

func (h lookupHeap) Len() int           { return len(h) }
func (h lookupHeap) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h lookupHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *lookupHeap) Push(x any)        { *h = append(*h, x.(*lookup)) }
func (h *lookupHeap) Pop() any {
	old := *h
	l := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return l
}
