package pullsecret

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// offersOf are the offers of a configuration for repositories.
func offersOf(content string, repositories ...string) map[string][]Entry {
	offers := map[string][]Entry{}
	for _, repository := range repositories {
		offers[repository] = Read([]byte(content)).Offers(repository)
	}
	return offers
}

func TestACopyHoldsTheKeysOfItsRepositories(t *testing.T) {
	t.Parallel()
	const wide = `{"auths":{"*.test":{"username":"w","password":"p","email":"e@x"},"r.test/shop":{"auth":"dTpw","username":"not","password":"this"}}}`
	for name, tc := range map[string]struct {
		source       string
		repositories []string
		guards       []string
		want         string
	}{
		"several logins, with their addresses": {
			wide, []string{"r.test/shop/app"}, nil,
			`"https://r.test/shop/app":{"auth":"dTpw"},"r.test/shop/app":{"username":"w","password":"p","email":"e@x"}`,
		},
		"no key but theirs": {wide, []string{"s.test/app"}, nil, `"s.test/app":{"username":"w","password":"p","email":"e@x"}`},
		"a guard for what a key would be offered to": {
			wide, []string{"s.test/app"}, []string{"s.test/app2", "s.test/other"},
			`"s.test/app":{"username":"w","password":"p","email":"e@x"},"s.test/app2":{}`,
		},
		"no guard without a key": {wide, []string{"s.example/app"}, []string{"s.example/app2"}, ""},
		"a path like a version of the protocol": {
			wide, []string{"s.test/v2/app"}, []string{"s.test/v2/app2"},
			`"s.test/v1/v2/app":{"username":"w","password":"p","email":"e@x"},"s.test/v1/v2/app2":{}`,
		},
		"a path that begins with what is left of it": {
			wide, []string{"s.test/v1/v"}, nil, `"s.test/v1/v1/v":{"username":"w","password":"p","email":"e@x"}`,
		},
		"Docker Hub's": {
			`{"auths":{"https://index.docker.io/v1/":{"username":"u","password":"p"}}}`, []string{"docker.io/library/nginx"}, nil,
			`"docker.io/library/nginx":{"username":"u","password":"p"}`,
		},
		"an empty login is none": {`{"auths":{"r.test":{}}}`, []string{"r.test/app"}, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			narrow, full := Narrow(offersOf(tc.source, tc.repositories...), tc.guards)
			if diff := cmp.Diff(`{"auths":{`+tc.want+`}}`, string(narrow.Content())); diff != "" || len(full) > 0 {
				t.Errorf("no room for %q; content (-want +got):\n%s", full, diff)
			}
		})
	}
}

func TestFiveLoginsForARepository(t *testing.T) {
	t.Parallel()
	entries := map[string]Entry{}
	for _, key := range []string{"r.test", "r.test/s", "r.test/sh", "r.test/sho", "r.test/shop", "https://r.test/shop/app"} {
		entries[key] = Entry{Username: key, Password: "p"}
	}
	offers := Config{entries}.Offers("r.test/shop/app")
	if len(offers) != maxOffers || offers[0].Username != "https://r.test/shop/app" || offers[4].Username != "r.test/s" {
		t.Fatalf("offers %v", offers)
	}
	narrow, _ := Narrow(map[string][]Entry{"r.test/shop/app": offers}, nil)
	if diff := cmp.Diff(offers, narrow.Offers("r.test/shop/app")); diff != "" || len(narrow.Auths) != maxOffers {
		t.Errorf("the copy offers (-want +got):\n%s", diff)
	}
}

func TestACopyHasRoom(t *testing.T) {
	t.Parallel()
	source := `{"auths":{"r.test":{"username":"u","password":"` + strings.Repeat("<", maxLogin-1) + `"}}}`
	var repositories []string
	for i := range 100 {
		repositories = append(repositories, fmt.Sprintf("r.test/%03d", i))
	}
	narrow, full := Narrow(offersOf(source, repositories...), nil)
	if n, content := len(narrow.Auths), narrow.Content(); len(content) > 2*maxCopied || n == 0 || n+len(full) != 100 || full[0] != repositories[n] {
		t.Errorf("%d bytes with %d keys, no room for %d", len(content), n, len(full))
	}
}

// FuzzNoKeyIsOfferedToOthers narrows configurations as owners of pull secrets may write them for two repositories, and looks at
// what a kubelet would use: for the repositories what the source has, for others nothing, or nothing before the guard.
func FuzzNoKeyIsOfferedToOthers(f *testing.F) {
	f.Add("*.*", "r.test", "r.test/app", "r.test/shop/app", "r.test/app2")
	f.Add("r.test/v1", "https://r.test/v2/", "r.test/v2/app", "r.test/v1/v2/app", "r.test/app")
	f.Add("docker.io", "index.docker.io", "docker.io/library/nginx", "docker.io/shop/app", "docker.io/library/nginx-extra")
	f.Fuzz(func(t *testing.T, one, two, first, second, other string) {
		for _, repository := range []string{first, second, other} {
			if !isRepository(repository) {
				return
			}
		}
		source := Config{map[string]Entry{one: {Username: "1", Password: "p"}, two: {Username: "2", Password: "q"}}}
		offers := map[string][]Entry{first: source.Offers(first), second: source.Offers(second)}
		narrow, _ := Narrow(offers, []string{"r.test/guarded"})
		content := narrow.Content()
		for repository := range offers {
			want := Matching(repository, [][]byte{source.Content()})
			got := Matching(repository, [][]byte{content})
			if len(got) < len(want) || !slices.ContainsFunc(want, func(l Login) bool { return slices.Contains(got, l) }) && len(want) > 0 {
				t.Fatalf("%q is offered %v, want %v: %s", repository, got, want, content)
			}
		}
		again, _ := Narrow(map[string][]Entry{first: narrow.Offers(first), second: narrow.Offers(second)}, []string{"r.test/guarded"})
		thrice, _ := Narrow(map[string][]Entry{first: again.Offers(first), second: again.Offers(second)}, []string{"r.test/guarded"})
		if !thrice.Equal(again) {
			t.Fatalf("narrowed again %s is %s", again.Content(), thrice.Content())
		}
		beneath := func(key string) bool { return len(offers[key]) > 0 && strings.HasPrefix(other, key) }
		if got := Matching(other, [][]byte{content}); len(got) > 0 && !beneath(first) && !beneath(second) {
			t.Fatalf("%q is offered %v: %s", other, got, content)
		}
		if offers[other] != nil {
			return
		}
		narrow, _ = Narrow(offers, []string{other})
		if got := Matching(other, [][]byte{narrow.Content()}); len(got) > 0 && got[0] != (Login{}) {
			t.Fatalf("%q is offered %v before no login: %s", other, got, narrow.Content())
		}
	})
}

// isRepository tells whether a text could be the repository of an image.
func isRepository(text string) bool {
	host, path, found := strings.Cut(text, "/")
	ok := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || strings.ContainsRune(".-_/", r))
	}
	return found && host != "" && path != "" && !strings.ContainsFunc(text, ok) && !strings.HasPrefix(path, "/") && !strings.HasSuffix(path, "/")
}
