package registry

import (
	"cmp"
	"crypto/rand"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// tokens are the tokens that were given out and are not known to have expired.
type tokens struct {
	mu   sync.Mutex
	good map[string]grant
}

// grant is what a token opens, and until when.
type grant struct {
	actions map[string][]string
	expires time.Time
}

// check returns what is wrong with a token, in the words of RFC 6750 section 3.1, or "".
func (t *tokens) check(token, repo, action string, now time.Time) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	g, ok := t.good[token]
	if !ok || !now.Before(g.expires) {
		return "invalid_token"
	}
	if !slices.Contains(g.actions[repo], action) {
		return "insufficient_scope"
	}
	return ""
}

// issue returns a new token for a grant.
func (t *tokens) issue(g grant, now time.Time) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.good == nil {
		t.good = map[string]grant{}
	}
	maps.DeleteFunc(t.good, func(_ string, old grant) bool { return !now.Before(old.expires) })
	token := rand.Text()
	t.good[token] = g
	return token
}

// parseScopes reads the scopes of a token request: repository:<name>:<action>,<action>. Others are left out.
func parseScopes(scopes []string) map[string][]string {
	actions := map[string][]string{}
	for _, scope := range strings.Fields(strings.Join(scopes, " ")) {
		kind, rest, _ := strings.Cut(scope, ":")
		// The name of a repository may begin with host:port.
		if i := strings.LastIndex(rest, ":"); kind == "repository" && i > 0 {
			actions[rest[:i]] = append(actions[rest[:i]], strings.Split(rest[i+1:], ",")...)
		}
	}
	return actions
}

// serveToken is the token server: GET with basic auth or none (the token specification of the distribution project),
// POST with a form (its OAuth2 variant). Wrong credentials are refused. Without credentials, or for other people's
// repositories, there is a token that does not open them, as from the token servers of public registries.
func (a *auth) serveToken(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	user, password, named := r.BasicAuth()
	if r.Method == http.MethodPost && r.PostForm.Get("grant_type") == "password" {
		user, password, named = r.PostForm.Get("username"), r.PostForm.Get("password"), true
	}
	for repo := range parseScopes(r.Form["scope"]) {
		a.saw(repo, user)
	}
	if named && !a.knows(user, password) {
		refuse(w, http.StatusUnauthorized, "wrong user or password")
		return
	}
	now := time.Now()
	g, life := a.allow(parseScopes(r.Form["scope"]), user, password, now)
	token := a.tokens.issue(g, now)
	answer(w, http.StatusOK, map[string]any{
		"token":        token,
		"access_token": token,
		"expires_in":   int(life.Seconds()),
		"issued_at":    now.UTC().Format(time.RFC3339),
	})
}

// knows reports whether credentials open any private repository.
func (a *auth) knows(user, password string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, private := range a.private {
		if private.accepts(user, password) {
			return true
		}
	}
	return false
}

// allow returns what is granted of the actions asked for, and for how long: the shortest life among the private
// repositories that are opened.
func (a *auth) allow(asked map[string][]string, user, password string, now time.Time) (grant, time.Duration) {
	life := time.Duration(0)
	granted := map[string][]string{}
	for repo, actions := range asked {
		private, ok := a.find(repo)
		if ok && !private.accepts(user, password) {
			continue
		}
		granted[repo] = actions
		if ok && (life == 0 || private.TokenLife < life) {
			life = private.TokenLife
		}
	}
	life = cmp.Or(life, defaultTokenLife)
	return grant{actions: granted, expires: now.Add(life)}, life
}
