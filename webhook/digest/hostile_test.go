package digest

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// replyWith is an answer with a body.
func replyWith(r *http.Request, body string, header ...string) *http.Response {
	w := httptest.NewRecorder()
	for i := 0; i < len(header); i += 2 {
		w.Header().Set(header[i], header[i+1])
	}
	w.WriteString(body)
	response := w.Result()
	response.Request = r
	return response
}

func TestADigestIsOnlyWhatAnImageCanBePinnedTo(t *testing.T) {
	t.Parallel()
	const index = "application/vnd.oci.image.index.v1+json; charset=utf-8"
	sum := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte("{}")))
	for name, test := range map[string]struct {
		head string
		get  []string
		body string
		want string
		err  string
	}{
		"what HEAD says":                         {someDigest, nil, "", someDigest, ""},
		"that of what GET gives":                 {"", []string{"Content-Type", index}, "{}", sum, ""},
		"what both say":                          {"", []string{"Content-Type", index, "Docker-Content-Digest", sum}, "{}", sum, ""},
		"not a bogus one":                        {"sha256:../../x", []string{"Content-Type", index, "Docker-Content-Digest", secret}, "{}", sum, ""},
		"not one of another kind":                {"sha512:" + strings.Repeat("a", 128), []string{"Content-Type", index}, "{}", sum, ""},
		"not one that what was read contradicts": {"", []string{"Content-Type", index, "Docker-Content-Digest", someDigest}, "{}", "", "r.test: the answer is not understood"},
		"not that of a proxy's page":             {"", []string{"Content-Type", "text/html"}, "<html>", "", "r.test: the answer is not understood"},
		"not that of something":                  {"", []string{"Content-Type", ";"}, "{}", "", "r.test: the answer is not understood"},
		"not that of what has no end":            {"", []string{"Content-Type", index}, strings.Repeat(" ", maxAnswer+1), "", "r.test: the answer is too large"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newTestResolver(t, newOn(func(request *http.Request) (*http.Response, error) {
				switch {
				case request.URL.Path == "/v2/":
					return reply(request, http.StatusOK), nil
				case request.Method == http.MethodHead:
					return reply(request, http.StatusOK, "Docker-Content-Digest", test.head), nil
				default:
					return replyWith(request, test.body, test.get...), nil
				}
			}))
			digest, err := r.Resolve(t.Context(), "shop", "r.test/a:v1", nil, false)
			if digest != test.want || (err == nil) != (test.err == "") || err != nil && err.Error() != test.err {
				t.Errorf("it is %q, %v, want %q, %q", digest, err, test.want, test.err)
			}
		})
	}
}

func TestAChallengeLeadsOnlyWhereATokenMayBe(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		challenge string
		want      string
	}{
		"to another host":        {`Bearer realm="https://auth.test/token"`, ""},
		"not to plain HTTP":      {`Bearer realm="http://auth.test/token"`, "r.test: the answer is not understood"},
		"not inside":             {`Bearer realm="https://169.254.169.254/token"`, "r.test: the answer is not understood"},
		"not nowhere":            {`Bearer service="x"`, "r.test: the answer is not understood"},
		"not to another program": {`Bearer realm="file:///etc/passwd"`, "r.test: the answer is not understood"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newTestResolver(t, newOn(func(request *http.Request) (*http.Response, error) {
				switch {
				case request.URL.Host == "auth.test" && request.URL.Scheme == "https":
					return replyWith(request, `{"token":"t0ken"}`), nil
				case request.URL.Host != "r.test":
					t.Errorf("a request goes to %s", request.URL)
				case request.Header.Get("Authorization") != "Bearer t0ken":
					return reply(request, http.StatusUnauthorized, "WWW-Authenticate", test.challenge), nil
				}
				return reply(request, http.StatusOK, "Docker-Content-Digest", someDigest), nil
			}))
			_, err := r.Resolve(t.Context(), "shop", "r.test/a:v1", [][]byte{dockerConfig("r.test", "user", secret)}, false)
			if (err == nil) != (test.want == "") || err != nil && err.Error() != test.want {
				t.Errorf("the error is %v, want %q", err, test.want)
			}
		})
	}
}

func TestASlowTokenServerHasTwoSeconds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newTestResolver(t, newOn(func(request *http.Request) (*http.Response, error) {
			if request.URL.Host == "auth.test" {
				<-request.Context().Done()
				return nil, request.Context().Err()
			}
			return reply(request, http.StatusUnauthorized, "WWW-Authenticate", `Bearer realm="https://auth.test/token?`+secret+`"`), nil
		}))
		start := time.Now()
		if _, err := r.Resolve(t.Context(), "shop", "r.test/a:v1", nil, false); err == nil || err.Error() != "r.test did not answer within 1.5s" || time.Since(start) != resolveTime {
			t.Errorf("the error is %v after %v", err, time.Since(start))
		}
		if _, err := r.Resolve(t.Context(), "shop", "r.test/b:v1", nil, false); resultOf(err) != resting {
			t.Errorf("then it is %v", err)
		}
	})
}

func TestHugeHeadersAreNotRead(t *testing.T) {
	t.Parallel()
	host := serve(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			for i := range 1000 {
				w.Header().Add("X-Huge", fmt.Sprint(i, strings.Repeat(secret, 100)))
			}
			answering(w, r)
		})
	})
	_, err := newTestResolver(t, New(Options{})).Resolve(t.Context(), "shop", host+"/a:v1", nil, false)
	if err == nil || len(err.Error()) > 200 || strings.Contains(err.Error(), secret) {
		t.Errorf("the error is %v", err)
	}
}

// FuzzAnswersOfARegistry gives the same answer to every request. It is a digest, a size or an error that can be shown, and takes little
// more memory than it has on the wire.
func FuzzAnswersOfARegistry(f *testing.F) {
	f.Add(200, "Docker-Content-Digest", someDigest, "Content-Type", "text/html", "{}")
	f.Add(401, "WWW-Authenticate", `Bearer realm="https://auth.test/token?`+secret+`",service="x",scope="y"`, "", "", `{"token":"t"}`)
	f.Add(200, "WWW-Authenticate", `Bearer realm="https://r.test/token"`, "Content-Type", "application/vnd.oci.image.index.v1+json", `{"refresh_token":"`+secret+`","token":"t"}`)
	f.Add(302, "Location", "https://s.test/?"+secret, "Retry-After", "-1", "")
	f.Add(429, "Retry-After", "99999999999999999999", "", "", `{"errors":[{"message":"`+secret+`"}]}`)
	f.Add(503, "Retry-After", "Thu, 01 Jan 1970 00:00:00 GMT", "Location", "//", "")
	for _, body := range hostileManifests(1 << 10) {
		f.Add(200, "Content-Type", accepted[0], "", "", body)
		f.Add(401, "WWW-Authenticate", `Bearer realm="https://r.test/token",service="x"`, "", "", body)
	}
	digests := regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	words := regexp.MustCompile(`^r\.test(: | answers |/| is | did )[ -~]{1,120}$`)
	f.Fuzz(func(t *testing.T, status int, header1, value1, header2, value2, body string) {
		if status < 200 || status > 999 {
			return // the transport does not pass such on
		}
		answers := newOn(func(request *http.Request) (*http.Response, error) {
			response := reply(request, status, header1, value1, header2, value2)
			response.Body = replyWith(request, body).Body
			return response, nil
		})
		auths := [][]byte{dockerConfig("r.test", "user", secret)}
		var m Manifest
		var err error
		if took := allocated(func() { m, err = answers.Look(t.Context(), "r.test/a:v1", "amd64", auths) }); took > 2*maxRedirects*(amplified*len(body)+parsing) {
			t.Errorf("%d bytes take %d", len(body), took)
		}
		if err == nil && (m.Bytes < 0 || !digests.MatchString(m.Digest)) || err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("it is %+v, %v", m, err)
		}
		r := newTestResolver(t, answers)
		for _, fresh := range []bool{false, true} {
			digest, err := r.Resolve(t.Context(), "shop", "r.test/a:v1", auths, fresh)
			switch {
			case err == nil && !digests.MatchString(digest):
				t.Errorf("it is %q", digest)
			case err != nil && (digest != "" || !words.MatchString(err.Error()) || strings.Contains(err.Error(), secret)):
				t.Errorf("it is %q, %v", digest, err)
			}
		}
		if len(r.flights) != 0 {
			t.Error("a question has no end")
		}
	})
}
