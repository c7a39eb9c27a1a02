package pullsecret

import (
	"encoding/base64"
	"net/url"
	"strings"
	"testing"
)

func TestWithoutTokens(t *testing.T) {
	t.Parallel()
	const digest = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
	for name, test := range map[string]struct{ message, want string }{
		"a link's query and user": {
			`Get "https://clerk:p4ss@s3.test/blob?X-Signature=abc&x=1": dial tcp`, `Get "https://***@s3.test/blob?***": dial tcp`,
		},
		"a login":               {"you sent Basic Y2xlcms6cGxhbnRlZC0xMjM0NTY=", "you sent Basic ***"},
		"a token":               {"bad token eyJhbGciOiJub25lIn0.eyJzdWIiOiJjbGVyayJ9ABC1.", "bad token ***"},
		"a digest stays":        {"r.test/shop/app@" + digest + ": not found", "r.test/shop/app@" + digest + ": not found"},
		"a registry's URL":      {`Head "https://r.test/v2/shop/app/manifests/v1": no such host`, `Head "https://r.test/v2/shop/app/manifests/v1": no such host`},
		"words of the protocol": {"no basic auth credentials, WWW-Authenticate: Basic realm", "no basic auth credentials, WWW-Authenticate: Basic realm"},
	} {
		if got := RedactTokens(test.message); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

func TestWhatAPullSecretHolds(t *testing.T) {
	t.Parallel()
	content := `{"auths":{"a":{"username":"clerk","password":"pl4nted/1"},"b":{"auth":"` + base64.StdEncoding.EncodeToString([]byte("clerk:pl4nted/2")) + `"},"c":{"auth":"x"},"d":{"password":"p"}}}`
	words := Redactor(Words([]byte(content)))
	for _, password := range []string{"pl4nted/1", "pl4nted/2"} {
		for _, quoted := range []string{
			password, url.QueryEscape(password), "clerk:" + password,
			base64.StdEncoding.EncodeToString([]byte("clerk:" + password)), base64.URLEncoding.EncodeToString([]byte(password)),
		} {
			if got := strings.TrimRight(words.Replace("said "+quoted), "="); got != "said ***" {
				t.Errorf("%q becomes %q", quoted, got)
			}
		}
	}
	if got := words.Replace("a pod of clerk: p"); got != "a pod of clerk: p" {
		t.Errorf("common words become %q", got)
	}
	if words := Words([]byte("{")); words != nil {
		t.Errorf("no JSON holds %q", words)
	}
}

// FuzzNoSecretIsLeft quotes a login in several forms.
func FuzzNoSecretIsLeft(f *testing.F) {
	f.Add("clerk", "planted-1", "denied: ", ".")
	f.Add("", "p@ss/w+rd=", "", "")
	f.Fuzz(func(t *testing.T, user, password, before, after string) {
		if len(password) < minSecret || strings.Contains(user, ":") || strings.Contains(hidden+before+after+hidden, password) {
			return
		}
		auth := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
		words := Redactor(Words([]byte(`{"auths":{"r.test":{"auth":"` + auth + `"}}}`)))
		for _, quoted := range []string{password, auth, url.QueryEscape(password)} {
			if got := words.Replace(before + quoted + after); strings.Contains(got, strings.TrimRight(quoted, "=")) && !strings.Contains(before+hidden+after, strings.TrimRight(quoted, "=")) {
				t.Errorf("%q is left of %q", got, before+quoted+after)
			}
		}
	})
}
