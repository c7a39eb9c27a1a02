package webhook

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// maxValue bounds a value that is decoded: a forged review must not make a hint large. No name, label or owner
// reference of a real object comes near it.
const maxValue = 16 << 10

var errMalformed = errors.New("malformed JSON")

// cursor finds its way through JSON in one pass, without decoding what it does not need: a review carries up to two
// whole objects, of which a few fields matter, and this is ten times faster than encoding/json on them. It checks no more grammar than that takes; the API server sends valid
// JSON, and what a forged review says is read back from the API server before anything is learned.
type cursor struct {
	raw []byte
	at  int
}

// members calls visit with each key of the object that comes next. visit must take the value, with members, decode or
// skip. Anything that is not an object, null too, has no members.
func (c *cursor) members(visit func(key []byte) error) error {
	if c.peek() != '{' {
		return c.skip()
	}
	c.at++
	for {
		switch c.peek() {
		case '}':
			c.at++
			return nil
		case '"':
			start := c.at + 1
			if err := c.quoted(); err != nil {
				return err
			}
			if err := visit(c.raw[start : c.at-1]); err != nil {
				return err
			}
		default:
			return errMalformed
		}
	}
}

// elements calls visit with the index of each element of the list that comes next, which visit must take. Anything that
// is not a list has none.
func (c *cursor) elements(visit func(i int) error) error {
	if c.peek() != '[' {
		return c.skip()
	}
	c.at++
	for i := 0; ; i++ {
		switch c.peek() {
		case ']':
			c.at++
			return nil
		case 0, '}':
			return errMalformed
		}
		if err := visit(i); err != nil {
			return err
		}
	}
}

// value takes the value that comes next and returns it as it is; it is a part of what the cursor reads.
func (c *cursor) value() ([]byte, error) {
	c.peek()
	start := c.at
	err := c.skip()
	return c.raw[start:c.at], err
}

// decode takes the value that comes next into what into points to.
func (c *cursor) decode(into any) error {
	value, err := c.value()
	if err != nil {
		return err
	}
	if len(value) > maxValue {
		return fmt.Errorf("value of %d bytes where %d are enough", len(value), maxValue)
	}
	return json.Unmarshal(value, into)
}

// skip takes the value that comes next, however deep.
func (c *cursor) skip() error {
	switch c.peek() {
	case '{', '[':
		return c.nested()
	case '"':
		return c.quoted()
	}
	start := c.at
	for c.at < len(c.raw) && strings.IndexByte(" \t\r\n,:{}[]\"", c.raw[c.at]) < 0 {
		c.at++
	}
	if c.at == start {
		return errMalformed
	}
	return nil
}

// nested takes an object or a list. It counts instead of recursing: depth costs no stack.
func (c *cursor) nested() error {
	for depth := 0; c.at < len(c.raw); {
		switch c.raw[c.at] {
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
		c.at++
		if depth == 0 {
			return nil
		}
	}
	return errMalformed
}

// quoted takes a string, both quotes included.
func (c *cursor) quoted() error {
	for at := c.at + 1; at < len(c.raw); at++ {
		switch c.raw[at] {
		case '\\':
			at++
		case '"':
			c.at = at + 1
			return nil
		}
	}
	return errMalformed
}

// peek returns the first byte of the next token, or 0 at the end. Separators say nothing that the tokens do not.
func (c *cursor) peek() byte {
	for ; c.at < len(c.raw); c.at++ {
		switch b := c.raw[c.at]; b {
		case ' ', '\t', '\r', '\n', ',', ':':
		default:
			return b
		}
	}
	return 0
}
