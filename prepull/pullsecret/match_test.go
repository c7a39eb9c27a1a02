package pullsecret

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestTheKubeletsCredentialsAreUsed(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		repository string
		auths      []string
		want       []string
	}{
		"the host":                             {"r.test/shop/app", []string{`{"auths":{"r.test":{"username":"a","password":"p"}}}`}, []string{"a:p"}},
		"with a scheme":                        {"r.test/shop/app", []string{`{"auths":{"https://r.test/v2/":{"username":"a","password":"p"}}}`}, []string{"a:p"}},
		"auth before username":                 {"r.test/shop/app", []string{`{"auths":{"r.test":{"username":"a","password":"p","auth":"YjpxOnI="}}}`}, []string{"b:q:r"}},
		"auth without padding":                 {"r.test/shop/app", []string{`{"auths":{"r.test":{"auth":"YjpxOnI"}}}`}, []string{"b:q:r"}},
		"another host":                         {"r.test/shop/app", []string{`{"auths":{"s.test":{"username":"a","password":"p"},"x.r.test":{"username":"a","password":"p"}}}`}, nil},
		"another port":                         {"r.test:5000/shop/app", []string{`{"auths":{"r.test":{"username":"a","password":"p"}}}`}, nil},
		"a port":                               {"r.test:5000/shop/app", []string{`{"auths":{"r.test:5000":{"username":"a","password":"p"}}}`}, []string{"a:p"}},
		"longer paths first, others not":       {"r.test/shop/app", []string{`{"auths":{"r.test":{"username":"a","password":"p"},"r.test/shop":{"username":"b","password":"p"},"r.test/bank":{"username":"c","password":"p"}}}`}, []string{"b:p", "a:p"}},
		"an asterisk for a part of the host":   {"eu.r.test/app", []string{`{"auths":{"*.r.test":{"username":"a","password":"p"},"*.test":{"username":"b","password":"p"}}}`}, []string{"a:p"}},
		"several configurations, each in turn": {"r.test/app", []string{`{"auths":{"r.test":{"username":"z","password":"p"}}}`, `{"auths":{"r.test":{"username":"a","password":"p"}}}`, `{"auths":{"r.test":{"username":"z","password":"p"}}}`}, []string{"z:p", "a:p"}},
		"one that is broken":                   {"r.test/app", []string{`{"auths":{"r.test":{"auth":"!"}}}`, ``, `[]`, `{"auths":{"r.test":{"username":"a","password":"p"}}}`}, []string{"a:p"}},
		"Docker Hub":                           {"docker.io/library/nginx", []string{`{"auths":{"https://index.docker.io/v1/":{"username":"a","password":"p"}}}`}, []string{"a:p"}},
		"Docker Hub by its short name":         {"docker.io/library/nginx", []string{`{"auths":{"docker.io":{"username":"a","password":"p"},"index.docker.io":{"username":"b","password":"p"}}}`}, []string{"a:p"}},
		"Docker Hub's is for no other":         {"r.test/nginx", []string{`{"auths":{"https://index.docker.io/v1/":{"username":"a","password":"p"}}}`}, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var auths [][]byte
			for _, auth := range test.auths {
				auths = append(auths, []byte(auth))
			}
			var got []string
			for _, l := range Matching(test.repository, auths) {
				got = append(got, l.Username+":"+l.Password)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("credentials (-want +got):\n%s", diff)
			}
		})
	}
}

// FuzzALoginGoesOnlyWhereItIsFor matches entries as owners of pull secrets may write them with repositories: one without an
// asterisk is for one host, and any for hosts of as many parts and the same port.
func FuzzALoginGoesOnlyWhereItIsFor(f *testing.F) {
	f.Add("r.test", "r.test/shop/app")
	f.Add("*.r.test:5000/shop", "eu.r.test:5000/shop/app")
	f.Add("https://[r.test/v1/", "r.test/app")
	f.Add("index.docker.io", "docker.io/library/nginx")
	f.Fuzz(func(t *testing.T, key, repository string) {
		host, _, found := strings.Cut(repository, "/")
		if !found || host == "docker.io" {
			return
		}
		auth, err := json.Marshal(map[string]any{"auths": map[string]any{key: map[string]string{"username": "u", "password": "p"}}})
		if err != nil || !utf8.ValidString(key) {
			return
		}
		if len(Matching(repository, [][]byte{auth})) == 0 {
			return
		}
		parsed, ok := entryKey(key)
		only, _, _ := strings.Cut(parsed, "/")
		if !ok || !strings.ContainsAny(only, "*?[\\") && only != host || strings.Count(only, ".") != strings.Count(host, ".") {
			t.Errorf("an entry for %q goes to %q", key, repository)
		}
	})
}
