package digest

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// tokens is a registry whose tokens work for a while, and then are answered with a status.
type tokens struct {
	good     int // the number of the token that works
	expired  int // the status of those that do not
	requests []string
}

func (s *tokens) RoundTrip(request *http.Request) (*http.Response, error) {
	user, _, _ := request.BasicAuth()
	s.requests = append(s.requests, strings.TrimSpace(request.Method+" "+request.URL.Path[strings.LastIndex(request.URL.Path, "/")+1:]+" "+user))
	challenge := []string{"WWW-Authenticate", `Bearer realm="https://auth.test/token",service="r.test"`}
	switch authorization := request.Header.Get("Authorization"); {
	case request.URL.Host == "auth.test":
		return replyWith(request, fmt.Sprintf(`{"access_token":"%s%d"}`, user, s.good)), nil
	case request.URL.Path == "/v2/":
		return reply(request, http.StatusUnauthorized, challenge...), nil
	case strings.HasSuffix(authorization, fmt.Sprint(s.good)):
		return reply(request, http.StatusOK, "Docker-Content-Digest", someDigest), nil
	case s.expired == http.StatusUnauthorized:
		return reply(request, http.StatusUnauthorized, challenge...), nil
	default:
		return reply(request, s.expired), nil
	}
}

func TestAHandshakeIsGoodForTheTagsOfARepository(t *testing.T) {
	t.Parallel()
	handshake := []string{"GET", "GET token ann"}
	tests := map[string]struct {
		image   string
		user    string
		after   time.Duration
		expired int // 0: the token still works
		want    []string
	}{
		"another tag":                               {"r.test/a:v2", "ann", 0, 0, []string{"HEAD v2"}},
		"the same tag, later":                       {"r.test/a:v1", "ann", time.Minute, 0, []string{"HEAD v1"}},
		"another repository":                        {"r.test/b:v2", "ann", 0, 0, append(slices.Clone(handshake), "HEAD v2")},
		"another user":                              {"r.test/a:v2", "bob", 0, 0, []string{"GET", "GET token bob", "HEAD v2"}},
		"after five minutes":                        {"r.test/a:v2", "ann", 5 * time.Minute, 0, append(slices.Clone(handshake), "HEAD v2")},
		"an expired token":                          {"r.test/a:v2", "ann", time.Minute, 401, []string{"HEAD v2", "GET token ann", "HEAD v2"}},
		"an expired token that is forbidden":        {"r.test/a:v2", "ann", time.Minute, 403, append([]string{"HEAD v2"}, append(slices.Clone(handshake), "HEAD v2")...)},
		"an expired token that hides what there is": {"r.test/a:v2", "ann", time.Minute, 404, append([]string{"HEAD v2"}, append(slices.Clone(handshake), "HEAD v2")...)},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &tokens{expired: test.expired}
				r := newTestResolver(t, newOn(s.RoundTrip))
				ask := func(image, user string, want []string) {
					t.Helper()
					s.requests = nil
					digest, err := r.Resolve(t.Context(), "shop", image, [][]byte{dockerConfig("r.test", user, "p")}, false)
					if err != nil || digest != someDigest || !slices.Equal(s.requests, want) {
						t.Errorf("it is %s, %v after %q, want %q", digest, err, s.requests, want)
					}
				}
				ask("r.test/a:v1", "ann", append(slices.Clone(handshake), "HEAD v1"))
				if test.expired > 0 {
					s.good++
				}
				time.Sleep(test.after)
				ask(test.image, test.user, test.want)
			})
		})
	}
}

func TestAFailureInASessionIsAskedAgainOnlyWhereThatHelps(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		status int
		want   []string
	}{
		"a registry that fails":         {http.StatusBadGateway, []string{"HEAD v2"}},
		"a registry that is too busy":   {http.StatusTooManyRequests, []string{"HEAD v2"}},
		"an image that is not there":    {http.StatusNotFound, []string{"HEAD v2", "GET", "HEAD v2"}},
		"a registry that needs a login": {http.StatusUnauthorized, []string{"HEAD v2", "GET", "HEAD v2"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var requests []string
				status := http.StatusOK
				r := newTestResolver(t, newOn(func(request *http.Request) (*http.Response, error) {
					requests = append(requests, strings.TrimSpace(request.Method+" "+strings.TrimPrefix(request.URL.Path, "/v2/a/manifests/")))
					if request.URL.Path == "/v2/" {
						requests[len(requests)-1] = request.Method
						return reply(request, http.StatusOK), nil
					}
					return reply(request, status, "Docker-Content-Digest", someDigest), nil
				}))
				if _, err := r.Resolve(t.Context(), "shop", "r.test/a:v1", nil, false); err != nil {
					t.Fatal(err)
				}
				requests, status = nil, test.status
				if _, err := r.Resolve(t.Context(), "shop", "r.test/a:v2", nil, false); statusOf(err) != test.status || !slices.Equal(requests, test.want) {
					t.Errorf("the error is %v after %q, want %q", err, requests, test.want)
				}
			})
		})
	}
}
