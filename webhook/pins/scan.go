package pins

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// MaxValue bounds a value that is decoded: a forged review must not make a hint large. No name, label or owner
// reference of a real object comes near it.
const MaxValue = 16 << 10

var errMalformed = errors.New("malformed JSON")

// Cursor finds its way through JSON in one pass, without decoding what it does not need: a review carries up to two
// whole objects, of which a few fields matter, and this is ten times faster than encoding/json on them. It checks no more grammar than that takes; the API server sends valid
// JSON, and what a forged review says is read back from the API server before anything is learned.
type Cursor struct {
	Raw []byte
	At  int
}

// Members calls visit with each key of the object that comes next. visit must take the value, with members, decode or
// skip. Anything that is not an object, null too, has no members.
func (c *Cursor) Members(visit func(key []byte) error) error {
	if c.Peek() != '{' {
		return c.Skip()
	}
	c.At++
	for {
		switch c.Peek() {
		case '}':
			c.At++
			return nil
		case '"':
			start := c.At + 1
			if err := c.quoted(); err != nil {
				return err
			}
			if err := visit(c.Raw[start : c.At-1]); err != nil {
				return err
			}
		default:
			return errMalformed
		}
	}
}

// elements calls visit with the index of each element of the list that comes next, which visit must take. Anything that
// is not a list has none.
func (c *Cursor) elements(visit func(i int) error) error {
	if c.Peek() != '[' {
		return c.Skip()
	}
	c.At++
	for i := 0; ; i++ {
		switch c.Peek() {
		case ']':
			c.At++
			return nil
		case 0, '}':
			return errMalformed
		}
		if err := visit(i); err != nil {
			return err
		}
	}
}

// Value takes the value that comes next and returns it as it is; it is a part of what the cursor reads.
func (c *Cursor) Value() ([]byte, error) {
	c.Peek()
	start := c.At
	err := c.Skip()
	return c.Raw[start:c.At], err
}

// Decode takes the value that comes next into what into points to.
func (c *Cursor) Decode(into any) error {
	value, err := c.bounded()
	if err != nil {
		return err
	}
	return json.Unmarshal(value, into)
}

// DecodeText does the same with a string. Nearly every one stands there as it is, and needs no decoder.
func DecodeText[T ~string](c *Cursor, into *T) error {
	value, err := c.bounded()
	if err != nil {
		return err
	}
	if plain(value) {
		*into = T(value[1 : len(value)-1])
		return nil
	}
	return json.Unmarshal(value, into)
}

// bounded takes the value that comes next, if it is not too long.
func (c *Cursor) bounded() ([]byte, error) {
	value, err := c.Value()
	if err == nil && len(value) > MaxValue {
		err = fmt.Errorf("value of %d bytes where %d are enough", len(value), MaxValue)
	}
	return value, err
}

// plain tells whether a value is a string without escapes, of printable ASCII alone.
func plain(value []byte) bool {
	if len(value) < 2 || value[0] != '"' {
		return false
	}
	return !slices.ContainsFunc(value, func(b byte) bool { return b < ' ' || b > '~' || b == '\\' })
}

// Skip takes the value that comes next, however deep.
func (c *Cursor) Skip() error {
	switch c.Peek() {
	case '{', '[':
		return c.nested()
	case '"':
		return c.quoted()
	}
	start := c.At
	for c.At < len(c.Raw) && strings.IndexByte(" \t\r\n,:{}[]\"", c.Raw[c.At]) < 0 {
		c.At++
	}
	if c.At == start {
		return errMalformed
	}
	return nil
}

// nested takes an object or a list. It counts instead of recursing: depth costs no stack.
func (c *Cursor) nested() error {
	for depth := 0; c.At < len(c.Raw); {
		switch c.Raw[c.At] {
		case '"':
			if err := c.quoted(); err != nil {
				return err
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		c.At++
		if depth == 0 {
			return nil
		}
	}
	return errMalformed
}

// quoted takes a string, both quotes included.
func (c *Cursor) quoted() error {
	for at := c.At + 1; at < len(c.Raw); at++ {
		switch c.Raw[at] {
		case '\\':
			at++
		case '"':
			c.At = at + 1
			return nil
		}
	}
	return errMalformed
}

// Peek returns the first byte of the next token, or 0 at the end. Separators say nothing that the tokens do not.
func (c *Cursor) Peek() byte {
	for ; c.At < len(c.Raw); c.At++ {
		switch b := c.Raw[c.At]; b {
		case ' ', '\t', '\r', '\n', ',', ':':
		default:
			return b
		}
	}
	return 0
}
