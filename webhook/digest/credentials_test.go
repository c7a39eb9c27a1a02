package digest

import (
	"testing"

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
			for _, l := range matchingLogins(test.repository, auths) {
				got = append(got, l.username+":"+l.password)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("credentials (-want +got):\n%s", diff)
			}
		})
	}
}
