package pullsecret

import (
	"maps"
	"slices"
	"strings"
)

// A kubelet takes a key for all repositories that begin with it, and for the hosts that its asterisks stand for. What is
// copied therefore has the exact repository of an image as its key. The kubelet compares logins, not keys, when it decides
// whether a pod may use an image that is there (KEP-2535).

const (
	// maxOffers is how many logins a kubelet is given for one repository: it may have to try each.
	maxOffers = 5

	// maxCopied bounds the logins of one copy, in bytes. A Secret may have 1 MiB, for their keys and the guards too.
	maxCopied = 256 << 10
)

// Offers are the entries that the kubelet would take from a configuration for a repository, more specific ones first, five at
// most, each once. A login without a name and a password is none.
func (c Config) Offers(repository string) []Entry {
	var offers []Entry
	if len(spellings(repository, 1)) == 0 {
		return nil
	}
	for _, e := range c.matching(repository) {
		if e.Auth != "" {
			e.Username, e.Password = "", ""
		}
		if l, _ := e.login(); l != (Login{}) && !slices.Contains(offers, e) && len(offers) < maxOffers {
			offers = append(offers, e)
		}
	}
	return offers
}

// Narrow is a configuration with the offers for each repository under exactly its key. A guard is a repository to which such a key
// would be offered, as registry.example.com/app is to registry.example.com/app2, though nobody named the Secret for it: it gets a
// key of its own, which goes first, with an empty login, and that is none to a runtime. Guards that no key needs are left out.
// full are the repositories for which there was no room, sorted.
func Narrow(offers map[string][]Entry, guards []string) (narrow Config, full []string) {
	narrow.Auths = map[string]Entry{}
	room := maxCopied
	var keys []string
	for _, repository := range slices.Sorted(maps.Keys(offers)) {
		entries := offers[repository]
		if len(entries) == 0 {
			continue
		}
		if room -= sizeOf(entries); room < 0 {
			full = append(full, repository)
			continue
		}
		keys = append(keys, repository)
		for i, text := range spellings(repository, len(entries)) {
			narrow.Auths[text] = entries[i]
		}
	}
	for _, repository := range guards {
		if slices.ContainsFunc(keys, func(key string) bool { return strings.HasPrefix(repository, key) }) {
			for _, text := range spellings(repository, 1) {
				narrow.Auths[text] = Entry{}
			}
		}
	}
	return narrow, full
}

// Has tells whether a narrow configuration has a key for exactly a repository, be it a guard.
func (c Config) Has(repository string) bool {
	return slices.ContainsFunc(spellings(repository, 1), func(text string) bool {
		_, found := c.Auths[text]
		return found
	})
}

// spellings are some keys that the kubelet takes for a repository and for nothing shorter, in the order of Offers. It strips
// the scheme, and a version of the protocol: a repository whose path begins with one needs another before it.
func spellings(repository string, n int) []string {
	host, path, _ := strings.Cut(repository, "/")
	var keys []string
	for _, version := range []string{"/", "/v1/", "/v2/"} {
		for _, scheme := range []string{"", "https://", "http://"} {
			text := scheme + host + version + path
			if key, ok := entryKey(text); ok && key == repository && keyMatches(key, repository) && len(keys) < n {
				keys = append(keys, text)
			}
		}
	}
	slices.Sort(keys)
	return keys
}

// sizeOf entries as they are written.
func sizeOf(entries []Entry) int {
	size := 0
	for _, e := range entries {
		size += len(Config{Auths: map[string]Entry{"": e}}.Content())
	}
	return size
}
