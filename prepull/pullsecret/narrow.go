package pullsecret

import (
	"encoding/json"
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
	if len(spellings(repository)) == 0 {
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

// Narrow is the content of a copy with the offers for each repository under exactly its key; without any there is none. A guard
// is a repository to which such a key would be offered, as registry.example.com/app is to registry.example.com/app2, though
// nobody named the Secret for it: it gets a key of its own, which goes first, with an empty login, and that is none to a runtime.
// Guards that no key needs are left out. full are the repositories for which there was no room, sorted.
func Narrow(offers map[string][]Entry, guards []string) (content []byte, full []string) {
	narrow := Config{Auths: map[string]Entry{}}
	room := maxCopied
	var keys []string
	for _, repository := range slices.Sorted(maps.Keys(offers)) {
		if len(offers[repository]) == 0 {
			continue
		}
		if room -= sizeOf(offers[repository]); room < 0 {
			full = append(full, repository)
			continue
		}
		keys = append(keys, repository)
		for i, text := range spellings(repository)[:len(offers[repository])] {
			narrow.Auths[text] = offers[repository][i]
		}
	}
	if len(keys) == 0 {
		return nil, full
	}
	for _, repository := range guards {
		if slices.ContainsFunc(keys, func(key string) bool { return strings.HasPrefix(repository, key) }) {
			narrow.Auths[spellings(repository)[0]] = Entry{}
		}
	}
	content, err := json.Marshal(narrow)
	if err != nil {
		return nil, slices.Sorted(maps.Keys(offers))
	}
	return content, full
}

// sizeOf entries as they are written.
func sizeOf(entries []Entry) int {
	text, _ := json.Marshal(entries)
	return len(text)
}

// spellings are keys that the kubelet takes for a repository and nothing shorter, the plain one first. It strips the scheme, and
// a version of the protocol: a repository whose path begins with one needs another before it.
func spellings(repository string) []string {
	host, path, _ := strings.Cut(repository, "/")
	var keys []string
	for _, version := range []string{"/", "/v1/", "/v2/"} {
		for _, scheme := range []string{"", "https://", "http://"} {
			text := scheme + host + version + path
			if key, ok := entryKey(text); ok && key == repository && keyMatches(key, repository) && len(keys) < maxOffers {
				keys = append(keys, text)
			}
		}
	}
	return keys
}

// Narrowed are the offers in the content of a copy by their repositories. Guards are none.
func (c Config) Narrowed() map[string][]Entry {
	offers := map[string][]Entry{}
	for _, text := range slices.Sorted(maps.Keys(c.Auths)) {
		key, ok := entryKey(text)
		if e := c.Auths[text]; ok && e != (Entry{}) {
			offers[key] = append(offers[key], e)
		}
	}
	return offers
}
