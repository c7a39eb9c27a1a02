package pullsecret

import (
	"net"
	"net/url"
	"path"
	"slices"
	"strings"
)

// Login is what a registry is shown.
type Login struct{ Username, Password string }

// dockerHub is the key of Docker Hub's entry in a Docker configuration, without scheme and version.
const dockerHub = "index.docker.io"

// Matching are those that the kubelet would use for a repository, such as docker.io/library/nginx, in its order: of
// each configuration the matching entries, more specific ones first. A configuration that cannot be parsed has none.
func Matching(repository string, auths [][]byte) []Login {
	var found []Login
	for _, auth := range auths {
		for _, e := range Read(auth).matching(repository) {
			if l, _ := e.login(); !slices.Contains(found, l) {
				found = append(found, l)
			}
		}
	}
	return found
}

// matching are the entries for a repository, in the kubelet's order.
func (c Config) matching(repository string) []Entry {
	type keyed struct {
		key  string
		text string
		Entry
	}
	var entries []keyed
	for text, e := range c.Auths {
		if _, readable := e.login(); !readable {
			return nil
		}
		if key, ok := entryKey(text); ok {
			entries = append(entries, keyed{key, text, e})
		}
	}
	slices.SortFunc(entries, func(a, b keyed) int {
		if order := strings.Compare(b.key, a.key); order != 0 {
			return order
		}
		return strings.Compare(a.text, b.text) // two spellings of one key
	})
	var found, hub []Entry
	for _, e := range entries {
		if keyMatches(e.key, repository) {
			found = append(found, e.Entry)
		} else if e.key == dockerHub {
			hub = append(hub, e.Entry)
		}
	}
	if len(found) == 0 && strings.HasPrefix(repository, "docker.io/") {
		return hub
	}
	return found
}

// entryKey is the host and the path that an entry is for, without scheme and version of the protocol.
func entryKey(text string) (string, bool) {
	if !strings.HasPrefix(text, "https://") && !strings.HasPrefix(text, "http://") {
		text = "https://" + text
	}
	parsed, err := url.Parse(text)
	if err != nil {
		return "", false
	}
	at := parsed.Path
	if strings.HasPrefix(at, "/v1/") || strings.HasPrefix(at, "/v2/") {
		at = at[len("/v1"):]
	}
	if at == "/" {
		at = ""
	}
	return parsed.Host + at, true
}

// keyMatches tells whether an entry is for a repository: the ports are equal, each part of the host is, in which an
// asterisk stands for any text, and the path is a prefix.
func keyMatches(key, repository string) bool {
	keyHost, keyPath, _ := strings.Cut(key, "/")
	host, at, _ := strings.Cut(repository, "/")
	if !strings.HasPrefix(at, keyPath) {
		return false
	}
	keyParts, keyPort := splitHost(keyHost)
	parts, port := splitHost(host)
	return port == keyPort && slices.EqualFunc(keyParts, parts, func(pattern, part string) bool {
		matched, err := path.Match(pattern, part)
		return err == nil && matched
	})
}

func splitHost(text string) (parts []string, port string) {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		host, port = text, ""
	}
	return strings.Split(host, "."), port
}
