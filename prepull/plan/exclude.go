package plan

import (
	"fmt"
	"slices"
	"strings"
)

// unwanted are the images that the configuration keeps from all nodes, or that no pod runs, and why. What a person declared is
// always wanted.
func unwanted(found []*Candidate, o Options) map[*Candidate]skip {
	skips := map[*Candidate]skip{}
	for _, c := range found {
		if c.declared {
			continue
		}
		if words := c.replaced(); words != "" {
			skips[c] = skip{reason: SkippedReplaced, why: words}
		} else if i := slices.IndexFunc(o.Exclude, c.matches); i >= 0 {
			skips[c] = skip{reason: SkippedExcluded, why: fmt.Sprintf("The image matches the pattern %s (exclude).", o.Exclude[i])}
		} else if c.Size > 0 && c.Size < o.MinBytes {
			skips[c] = skip{reason: SkippedTooSmall, why: fmt.Sprintf("The image takes %d bytes, and one is worth a place from %d on (minBytes).", c.Size, o.MinBytes)}
		}
	}
	return skips
}

// replaced says what pods run in the place of an image that only templates name; empty if it is not so.
func (c *Candidate) replaced() string {
	for _, o := range c.objects {
		for _, u := range o.Status.Users {
			if u.Runs != "" && !c.inUse {
				return fmt.Sprintf("No pod runs the image: those of %s %s/%s run %s in its place.", u.Kind, u.Namespace, u.Name, u.Runs)
			}
		}
	}
	return ""
}

// matches tells whether a pattern stands for the whole image string. An asterisk is any text, none and slashes included;
// everything else is itself.
func (c *Candidate) matches(pattern string) bool {
	first, rest, found := strings.Cut(pattern, "*")
	if !found {
		return c.image == pattern
	}
	text, starts := strings.CutPrefix(c.image, first)
	if !starts {
		return false
	}
	parts := strings.Split(rest, "*")
	last := len(parts) - 1
	for _, part := range parts[:last] {
		_, after, found := strings.Cut(text, part)
		if !found {
			return false
		}
		text = after
	}
	return strings.HasSuffix(text, parts[last])
}
