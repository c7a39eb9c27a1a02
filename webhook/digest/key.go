package digest

import (
	"crypto/sha256"
	"encoding/binary"
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
