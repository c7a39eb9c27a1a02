package digest

import (
	"crypto/sha256"
	"encoding/binary"
	"time"

	"k8s.io/apimachinery/pkg/util/cache"
)

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
type memory[V any] struct{ kept *cache.LRUExpireCache }

func newMemory[V any](limit int) memory[V] { return memory[V]{cache.NewLRUExpireCache(limit)} }

// find returns the value of a key if it still holds.
func (m memory[V]) find(k key) (value V, found bool) {
	if kept, found := m.kept.Get(k); found {
		return kept.(V), true
	}
	return value, false
}

// take is find, and the value is kept no longer.
func (m memory[V]) take(k key) (value V, found bool) {
	value, found = m.find(k)
	m.kept.Remove(k)
	return value, found
}

// add keeps a value that holds before a time; at that time the cache would have it still.
func (m memory[V]) add(k key, value V, until time.Time) {
	m.kept.Add(k, value, time.Until(until)-time.Nanosecond)
}
