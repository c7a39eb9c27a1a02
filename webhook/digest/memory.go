package digest

import (
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"sync"
	"time"
)

// sweepTime is how long at most something is kept that holds no longer, as long as new things come.
const sweepTime = time.Minute

// key is a fingerprint, so that credentials can be compared and need not be kept.
type key [sha256.Size]byte

// keyOf tells lists of texts apart.
func keyOf(parts ...string) key {
	var text []byte
	for _, part := range parts {
		text = binary.BigEndian.AppendUint64(text, uint64(len(part)))
		text = append(text, part...)
	}
	return sha256.Sum256(text)
}

// memory keeps a limited number of values for a limited time.
type memory[V any] struct {
	limit int

	mu    sync.Mutex
	kept  map[key]kept[V]
	sweep time.Time
}

type kept[V any] struct {
	value V
	until time.Time
}

// find returns the value of a key if it still holds.
func (m *memory[V]) find(k key, now time.Time) (V, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.holds(k, now)
}

// take is find, and the value is kept no longer.
func (m *memory[V]) take(k key, now time.Time) (V, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	value, found := m.holds(k, now)
	delete(m.kept, k)
	return value, found
}

func (m *memory[V]) holds(k key, now time.Time) (value V, found bool) {
	if one, there := m.kept[k]; there && now.Before(one.until) {
		return one.value, true
	}
	return value, false
}

// add makes room by forgetting what holds no longer, or else everything.
func (m *memory[V]) add(k key, value V, now, until time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.kept) >= m.limit || now.After(m.sweep) {
		maps.DeleteFunc(m.kept, func(_ key, old kept[V]) bool { return !now.Before(old.until) })
		m.sweep = now.Add(sweepTime)
	}
	if m.kept == nil || len(m.kept) >= m.limit {
		m.kept = map[key]kept[V]{}
	}
	m.kept[k] = kept[V]{value, until}
}
