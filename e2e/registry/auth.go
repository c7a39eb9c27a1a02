package registry

import (
	"cmp"
	"crypto/subtle"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Auth is what a private repository asks for.
type Auth struct {
	User     string
	Password string
	// Token sends clients to the token server of the Registry, which gives out a token for the credentials. Default:
	// false, clients are asked for the credentials themselves (basic auth).
	Token bool
	// Anonymous lets in whoever gives no credentials, with a token if Token is set, as public registries do. Wrong ones are refused.
	Anonymous bool
	// TokenLife is how long a token is good for. Default: 5 minutes.
	TokenLife time.Duration
}

const defaultTokenLife = 5 * time.Minute

// auth guards the private repositories.
type auth struct {
	tokens tokens

	mu      sync.Mutex
	private rules[Auth]
	users   map[string]map[string]int64
}

// Users are how many requests for each repository, or for a token for it, came with which user: "" for those without a login.
func (r *Registry) Users() map[string]map[string]int64 {
	r.auth.mu.Lock()
	defer r.auth.mu.Unlock()
	users := map[string]map[string]int64{}
	for repo, of := range r.auth.users {
		users[repo] = maps.Clone(of)
	}
	return users
}

// saw counts a request of a user, for tokens too.
func (a *auth) saw(repo, user string) {
	if repo == "" {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.users == nil {
		a.users = map[string]map[string]int64{}
	}
	if a.users[repo] == nil {
		a.users[repo] = map[string]int64{}
	}
	a.users[repo][user]++
}

// Private makes the repositories that match a pattern private: a name, or a prefix that ends in a star. The best
// match counts. Private again with the same pattern changes the credentials; tokens live on until they expire.
//
// Private repositories take a token as well as basic auth, whatever they ask for: go-containerregistry decides once
// for a whole registry which of the two it sends.
func (r *Registry) Private(pattern string, a Auth) {
	a.TokenLife = cmp.Or(a.TokenLife, defaultTokenLife)
	r.auth.mu.Lock()
	defer r.auth.mu.Unlock()
	if r.auth.private == nil {
		r.auth.private = rules[Auth]{}
	}
	r.auth.private[pattern] = a
}

func (a *auth) find(repo string) (Auth, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.private.find(repo)
}

// accepts reports whether credentials open a private repository.
func (a Auth) accepts(user, password string) bool {
	return a.Anonymous && user == "" || subtle.ConstantTimeCompare([]byte(user), []byte(a.User))&
		subtle.ConstantTimeCompare([]byte(password), []byte(a.Password)) == 1
}

func (a *auth) wrap(next http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/token", a.serveToken)
	mux.HandleFunc("/v2/{$}", func(w http.ResponseWriter, r *http.Request) {
		if challenge, ok := a.greeting(r.Host); ok && r.Header.Get("Authorization") == "" {
			unauthorized(w, challenge)
			return
		}
		next.ServeHTTP(w, r)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		user, _, _ := r.BasicAuth()
		a.saw(parse(r.URL.Path).repo, user)
		if challenge := a.check(r, time.Now()); challenge != "" {
			unauthorized(w, challenge)
			return
		}
		next.ServeHTTP(w, r)
	})
	return mux
}

func unauthorized(w http.ResponseWriter, challenge string) {
	w.Header().Set("WWW-Authenticate", challenge)
	refuse(w, http.StatusUnauthorized, "authentication required")
}

// greeting is the challenge with which /v2/ tells clients how this registry authenticates, once a repository is
// private.
func (a *auth) greeting(host string) (string, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	token := false
	for _, private := range a.private {
		token = token || private.Token
	}
	if token {
		return bearerChallenge(host, "", ""), len(a.private) > 0
	}
	return basicChallenge, len(a.private) > 0
}

// check returns the challenge that a request has to meet first, or "".
func (a *auth) check(r *http.Request, now time.Time) string {
	at := parse(r.URL.Path)
	private, ok := a.find(at.repo)
	if !ok || at.repo == "" {
		return ""
	}
	if user, password, ok := r.BasicAuth(); ok && private.accepts(user, password) {
		return ""
	}
	problem := ""
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		if problem = a.tokens.check(token, at.repo, action(r.Method), now); problem == "" {
			return ""
		}
	}
	if !private.Token {
		return basicChallenge
	}
	actions := "pull"
	if action(r.Method) != actions {
		actions = "pull,push"
	}
	return bearerChallenge(r.Host, "repository:"+at.repo+":"+actions, problem)
}

// action is what a method does to a repository, in the words of a token's scope.
func action(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead:
		return "pull"
	case http.MethodDelete:
		return "delete"
	}
	return "push"
}

const basicChallenge = `Basic realm="registry"`

// bearerChallenge points to the token server, at the address that the client used. The scope and the problem with the
// token that it sent may be empty.
func bearerChallenge(host, scope, problem string) string {
	challenge := fmt.Sprintf(`Bearer realm="http://%s/token",service="registry"`, host)
	if scope != "" {
		challenge += fmt.Sprintf(`,scope=%q`, scope)
	}
	if problem != "" {
		challenge += fmt.Sprintf(`,error=%q`, problem)
	}
	return challenge
}
