package registry

import "strings"

// rules maps patterns to values. A pattern is the name of a repository, or with a star at its end a prefix: team/app,
// team/*, *.
type rules[T any] map[string]T

// find returns the value of the pattern that fits a repository best: its exact name, else the longest prefix.
func (r rules[T]) find(repo string) (T, bool) {
	if v, ok := r[repo]; ok {
		return v, true
	}
	var best T
	length := -1
	for pattern, v := range r {
		if matches(pattern, repo) && len(pattern) > length {
			best, length = v, len(pattern)
		}
	}
	return best, length >= 0
}

func matches(pattern, repo string) bool {
	prefix, star := strings.CutSuffix(pattern, "*")
	return pattern == repo || star && strings.HasPrefix(repo, prefix)
}
