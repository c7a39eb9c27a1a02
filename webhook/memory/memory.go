// Package memory keeps a limited number of values for a limited time. They may be credentials, so what holds no longer is
// dropped, too, and not only no longer found.
package memory

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/cache"
)

// sweepPace is how often what holds no longer is dropped at most: that takes a look at all values.
const sweepPace = time.Second

// Memory of values by their keys. It is safe for concurrent use.
type Memory[K comparable, V any] struct {
	kept *cache.LRUExpireCache

	mu    sync.Mutex
	swept time.Time
}

// New returns a memory for so many values. Over that, the one that was asked for longest ago goes.
func New[K comparable, V any](limit int) *Memory[K, V] {
	return &Memory[K, V]{kept: cache.NewLRUExpireCache(limit)}
}

// Find returns the value of a key if it still holds.
func (m *Memory[K, V]) Find(key K) (value V, found bool) {
	if kept, found := m.kept.Get(key); found {
		return kept.(V), true
	}
	return value, false
}

// Take is Find, and the value is kept no longer: of several who take it one gets it.
func (m *Memory[K, V]) Take(key K) (value V, found bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	value, found = m.Find(key)
	m.kept.Remove(key)
	return value, found
}

// Add keeps a value that holds before a time.
func (m *Memory[K, V]) Add(key K, value V, until time.Time) {
	// At the time itself the cache would have it still.
	m.kept.Add(key, value, time.Until(until)-time.Nanosecond)
	m.sweep(time.Now())
}

// Remove what is kept of a key.
func (m *Memory[K, V]) Remove(key K) { m.kept.Remove(key) }

// Len is how many values hold.
func (m *Memory[K, V]) Len() int { return len(m.kept.Keys()) }

// sweep drops what holds no longer, if it is time to.
func (m *Memory[K, V]) sweep(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if now.Sub(m.swept) < sweepPace {
		return
	}
	m.swept = now
	holding := map[any]bool{}
	for _, key := range m.kept.Keys() { // those that hold
		holding[key] = true
	}
	m.kept.RemoveAll(func(key any) bool { return !holding[key] })
}
