package registry

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/kube-prepull/kube-prepull/e2e/images"
)

func TestWhoMayPull(t *testing.T) {
	t.Parallel()
	alice := &authn.Basic{Username: "alice", Password: "secret"}
	bob := &authn.Basic{Username: "bob", Password: "hidden"}
	wrong := &authn.Basic{Username: "alice", Password: "wrong"}
	for kind, token := range map[string]bool{"basic auth": false, "a token server": true} {
		for name, tc := range map[string]struct {
			repo   string
			user   authn.Authenticator
			status int
		}{
			"the right password":                    {"alice/app", alice, 200},
			"a wrong password":                      {"alice/app", wrong, 401},
			"nobody":                                {"alice/app", authn.Anonymous, 401},
			"somebody else":                         {"alice/app", bob, 401},
			"somebody else in their own repository": {"bob/app", bob, 200},
			"nobody in a public repository":         {"public", authn.Anonymous, 200},
			"somebody in a public repository":       {"public", alice, 200},
		} {
			t.Run(kind+", "+name, func(t *testing.T) {
				t.Parallel()
				r := start(t)
				for _, repo := range []string{"alice/app", "bob/app", "public"} {
					push(t, r, repo, 1)
				}
				r.Private("alice/*", Auth{User: "alice", Password: "secret", Token: token})
				r.Private("bob/*", Auth{User: "bob", Password: "hidden", Token: token})
				if got := head(t, r, tc.repo, tc.user); got != tc.status {
					t.Errorf("status %d, want %d", got, tc.status)
				}
			})
		}
	}
}

func TestAMixOfBothKinds(t *testing.T) {
	t.Parallel()
	r := start(t)
	push(t, r, "basic", 1)
	push(t, r, "token", 1)
	r.Private("basic", Auth{User: "u", Password: "p"})
	r.Private("token", Auth{User: "u", Password: "p", Token: true})
	for _, repo := range []string{"basic", "token"} {
		if got := head(t, r, repo, &authn.Basic{Username: "u", Password: "p"}); got != 200 {
			t.Errorf("%s: status %d", repo, got)
		}
	}
}

func TestPushingToAPrivateRepository(t *testing.T) {
	t.Parallel()
	for kind, token := range map[string]bool{"basic auth": false, "a token server": true} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			r := start(t)
			r.Private("*", Auth{User: "u", Password: "p", Token: token})
			ref := r.Addr() + "/app"
			_, err := images.Image{}.Push(t.Context(), ref)
			if refused := (*transport.Error)(nil); !errors.As(err, &refused) || refused.StatusCode != 401 {
				t.Errorf("nobody pushes with error %v", err)
			}
			if _, err := (images.Image{}).Push(t.Context(), ref, remote.WithAuth(&authn.Basic{Username: "u", Password: "p"})); err != nil {
				t.Errorf("the owner may not push: %v", err)
			}
			if _, err := (images.Image{Seed: 2}).Push(t.Context(), ref, remote.WithTransport(r.Transport())); err != nil {
				t.Errorf("there is no way around: %v", err)
			}
		})
	}
}

func TestANewPassword(t *testing.T) {
	t.Parallel()
	r := start(t)
	push(t, r, "app", 1)
	r.Private("app", Auth{User: "u", Password: "old"})
	r.Private("app", Auth{User: "u", Password: "new"})
	for password, want := range map[string]int{"old": 401, "new": 200} {
		if got := head(t, r, "app", &authn.Basic{Username: "u", Password: password}); got != want {
			t.Errorf("the %s password: status %d, want %d", password, got, want)
		}
	}
}

func TestChallenges(t *testing.T) {
	t.Parallel()
	basic := func(user, password string) string {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.SetBasicAuth(user, password)
		return r.Header.Get("Authorization")
	}
	const bearer = `Bearer realm="http://example.com/token",service="registry"`
	for name, tc := range map[string]struct {
		method, path, authorization, want string
	}{
		"the greeting":                  {"GET", "/v2/", "", bearer},
		"the greeting once":             {"GET", "/v2/", "Bearer any", ""},
		"a pull":                        {"GET", "/v2/t/a/manifests/v1", "", bearer + `,scope="repository:t/a:pull"`},
		"the tags":                      {"GET", "/v2/t/a/tags/list", "", bearer + `,scope="repository:t/a:pull"`},
		"a push":                        {"POST", "/v2/t/a/blobs/uploads/", "", bearer + `,scope="repository:t/a:pull,push"`},
		"a made-up token":               {"GET", "/v2/t/a/manifests/v1", "Bearer x", bearer + `,scope="repository:t/a:pull",error="invalid_token"`},
		"the wrong password at once":    {"GET", "/v2/t/a/manifests/v1", basic("u", "x"), bearer + `,scope="repository:t/a:pull"`},
		"the right password at once":    {"GET", "/v2/t/a/manifests/v1", basic("u", "p"), ""},
		"basic auth":                    {"GET", "/v2/b/a/manifests/v1", "", `Basic realm="registry"`},
		"a token where it says basic":   {"GET", "/v2/b/a/manifests/v1", "Bearer x", `Basic realm="registry"`},
		"a public repository":           {"GET", "/v2/free/manifests/v1", "", ""},
		"a user of a public repository": {"GET", "/v2/free/manifests/v1", basic("u", "x"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var r Registry
			r.Private("t/*", Auth{User: "u", Password: "p", Token: true})
			r.Private("b/*", Auth{User: "u", Password: "p"})
			req := httptest.NewRequest(tc.method, tc.path, nil)
			req.Header.Set("Authorization", tc.authorization)
			w := httptest.NewRecorder()
			r.auth.wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).ServeHTTP(w, req)
			if diff := cmp.Diff(tc.want, w.Header().Get("WWW-Authenticate")); diff != "" {
				t.Error(diff)
			}
			if (w.Code == http.StatusUnauthorized) != (tc.want != "") {
				t.Errorf("status %d", w.Code)
			}
		})
	}
}

func TestWithoutPrivateRepositoriesThereIsNoGreeting(t *testing.T) {
	t.Parallel()
	resp, _, _ := get(t, "http://"+start(t).Addr()+"/v2/")
	if resp.StatusCode != http.StatusOK {
		t.Errorf("status %d", resp.StatusCode)
	}
}

func TestTheLifeOfAToken(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var tokens tokens
	token := tokens.issue(grant{actions: map[string][]string{"app": {"pull"}}, expires: now.Add(time.Minute)}, now)
	for name, tc := range map[string]struct {
		token, repo, action string
		after               time.Duration
		want                string
	}{
		"is good":                  {token, "app", "pull", 59 * time.Second, ""},
		"ends":                     {token, "app", "pull", time.Minute, "invalid_token"},
		"is not for other actions": {token, "app", "push", 0, "insufficient_scope"},
		"is not for other places":  {token, "web", "pull", 0, "insufficient_scope"},
		"cannot be made up":        {"x", "app", "pull", 0, "invalid_token"},
		"has to be there":          {"", "app", "pull", 0, "invalid_token"},
	} {
		if got := tokens.check(tc.token, tc.repo, tc.action, now.Add(tc.after)); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
	tokens.issue(grant{expires: now.Add(time.Hour)}, now.Add(2*time.Minute))
	if n := len(tokens.good); n != 1 {
		t.Errorf("%d tokens are kept, want only the one that is good", n)
	}
}

func TestTheTokenServer(t *testing.T) {
	t.Parallel()
	const app, both = "repository:t/app:pull,push", "repository:t/app:pull repository:free:pull"
	form := func(user, password, scope string) url.Values {
		return url.Values{"grant_type": {"password"}, "username": {user}, "password": {password}, "scope": {scope}}
	}
	for name, tc := range map[string]struct {
		user, password string
		get, post      url.Values
		status         int
		want           map[string][]string
		expiresIn      int
	}{
		"the right password": {
			user: "u", password: "p", get: url.Values{"scope": {app}},
			status: 200, want: map[string][]string{"t/app": {"pull", "push"}}, expiresIn: 60,
		},
		"the right password in a form": {
			post: form("u", "p", app), status: 200, want: map[string][]string{"t/app": {"pull", "push"}}, expiresIn: 60,
		},
		"a wrong password":           {user: "u", password: "x", get: url.Values{"scope": {app}}, status: 401},
		"a wrong password in a form": {post: form("u", "x", app), status: 401},
		"nobody gets what is public": {
			get: url.Values{"scope": {both}}, status: 200, want: map[string][]string{"free": {"pull"}}, expiresIn: 300,
		},
		"several scopes": {
			user: "u", password: "p", get: url.Values{"scope": strings.Fields(both)},
			status: 200, want: map[string][]string{"t/app": {"pull"}, "free": {"pull"}}, expiresIn: 60,
		},
		"a longer life": {
			user: "u", password: "p", get: url.Values{"scope": {"repository:long:pull"}},
			status: 200, want: map[string][]string{"long": {"pull"}}, expiresIn: 3600,
		},
		"no scope": {user: "u", password: "p", status: 200, want: map[string][]string{}, expiresIn: 300},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var r Registry
			r.Private("t/*", Auth{User: "u", Password: "p", Token: true, TokenLife: time.Minute})
			r.Private("long", Auth{User: "u", Password: "p", Token: true, TokenLife: time.Hour})
			req := httptest.NewRequest(http.MethodGet, "/token?"+tc.get.Encode(), nil)
			if tc.post != nil {
				req = httptest.NewRequest(http.MethodPost, "/token", strings.NewReader(tc.post.Encode()))
				req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			}
			if tc.user != "" {
				req.SetBasicAuth(tc.user, tc.password)
			}
			w := httptest.NewRecorder()
			r.auth.serveToken(w, req)
			if w.Code != tc.status {
				t.Fatalf("status %d, want %d", w.Code, tc.status)
			}
			if tc.status != 200 {
				return
			}
			var got struct {
				Token     string `json:"token"`
				ExpiresIn int    `json:"expires_in"`
			}
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, r.auth.tokens.good[got.Token].actions); diff != "" || got.ExpiresIn != tc.expiresIn {
				t.Errorf("expires in %d, want %d; granted:\n%s", got.ExpiresIn, tc.expiresIn, diff)
			}
		})
	}
}

func TestAClientRenewsItsToken(t *testing.T) {
	t.Parallel()
	r := start(t)
	push(t, r, "app", 1)
	r.Private("app", Auth{User: "u", Password: "p", Token: true, TokenLife: time.Nanosecond})
	user := &authn.Basic{Username: "u", Password: "p"}
	if got := head(t, r, "app", user); got != 401 {
		t.Errorf("with a token that is expired when it arrives: status %d", got)
	}
	puller, err := remote.NewPuller(remote.WithAuth(user), remote.WithRetryBackoff(remote.Backoff{Steps: 1}))
	if err != nil {
		t.Fatal(err)
	}
	r.Private("app", Auth{User: "u", Password: "p", Token: true})
	for range 2 { // the first asks for a token, the second has one
		if _, err := puller.Head(t.Context(), reference(t, r, "app")); err != nil {
			t.Fatal(err)
		}
	}
	before := r.Counts("app").TokenRequests
	r.auth.tokens.mu.Lock()
	clear(r.auth.tokens.good) // as if all had expired
	r.auth.tokens.mu.Unlock()
	if _, err := puller.Head(t.Context(), reference(t, r, "app")); err != nil {
		t.Fatal(err)
	}
	if got := r.Counts("app").TokenRequests - before; got != 1 {
		t.Errorf("%d token requests, want 1", got)
	}
}

func TestScopes(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		scopes []string
		want   map[string][]string
	}{
		"none":               {nil, map[string][]string{}},
		"one":                {[]string{"repository:a/b:pull,push"}, map[string][]string{"a/b": {"pull", "push"}}},
		"two in one":         {[]string{"repository:a:pull repository:b:pull"}, map[string][]string{"a": {"pull"}, "b": {"pull"}}},
		"the same again":     {[]string{"repository:a:pull", "repository:a:push"}, map[string][]string{"a": {"pull", "push"}}},
		"a name with a port": {[]string{"repository:host:5000/a:pull"}, map[string][]string{"host:5000/a": {"pull"}}},
		"something else":     {[]string{"registry:catalog:*", "nonsense", "", "repository", "repository::pull", "repository:a"}, map[string][]string{}},
	} {
		if diff := cmp.Diff(tc.want, parseScopes(tc.scopes)); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
}
