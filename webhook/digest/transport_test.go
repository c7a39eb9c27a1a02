package digest

import (
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

// answering is a registry that has every image.
func answering(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Docker-Content-Digest", someDigest)
}

func TestARegistryWithAnAuthorityOfItsOwnIsTrustedWhereItIsConfigured(t *testing.T) {
	t.Parallel()
	handler := http.NewServeMux()
	handler.HandleFunc("/", answering)
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	plain := httptest.NewServer(handler)
	t.Cleanup(plain.Close)
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	host, plainHost := strings.TrimPrefix(server.URL, "https://"), strings.TrimPrefix(plain.URL, "http://")

	for name, test := range map[string]struct {
		hosts map[string]Host
		image string
		want  string
	}{
		"configured":                       {map[string]Host{host: {CA: ca}}, host + "/a:v1", ""},
		"not configured":                   {nil, host + "/a:v1", host + ": its certificate is of an unknown authority"},
		"configured for another":           {map[string]Host{"r.test": {CA: ca}}, host + "/a:v1", host + ": its certificate is of an unknown authority"},
		"without certificates in it":       {map[string]Host{host: {CA: "no PEM"}}, host + "/a:v1", host + ": its certificate is of an unknown authority"},
		"for a registry without TLS":       {map[string]Host{plainHost: {CA: ca}}, plainHost + "/a:v1", plainHost + ": the answer is not understood"},
		"plain HTTP":                       {map[string]Host{plainHost: {PlainHTTP: true}}, plainHost + "/a:v1", ""},
		"plain HTTP of a private address":  {nil, plainHost + "/a:v1", ""},
		"plain HTTP for one that has TLS":  {map[string]Host{host: {PlainHTTP: true}}, host + "/a:v1", host + " answers 400 Bad Request"},
		"another one is as it always was ": {map[string]Host{host: {CA: ca}, "r.test": {PlainHTTP: true}}, plainHost + "/a:v1", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			digest, err := newTestResolver(t, New(Options{Hosts: test.hosts})).Resolve(t.Context(), "shop", test.image, nil, false)
			if (err == nil) != (test.want == "") || err != nil && err.Error() != test.want || err == nil && digest != someDigest {
				t.Errorf("it is %s, %v, want the error %q", digest, err, test.want)
			}
		})
	}
}

func TestOnlyConfiguredRegistriesAreSpokenToInPlain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		schemes := map[string]bool{}
		r := newTestResolver(t, New(Options{
			Hosts: map[string]Host{"plain.test:5000": {PlainHTTP: true}, "docker.io": {PlainHTTP: true}},
			Transport: roundTrip(func(request *http.Request) (*http.Response, error) {
				schemes[request.URL.Scheme+"://"+request.URL.Host] = true
				return reply(request, http.StatusOK, "Docker-Content-Digest", someDigest), nil
			}),
		}))
		for _, image := range []string{"plain.test:5000/a", "plain.test/a", "nginx", "r.test/a"} {
			if _, err := r.Resolve(t.Context(), "shop", image, nil, false); err != nil {
				t.Errorf("%s: %v", image, err)
			}
		}
		for _, want := range []string{"http://plain.test:5000", "https://plain.test", "http://index.docker.io", "https://r.test"} {
			if !schemes[want] || len(schemes) != 4 {
				t.Errorf("%s is not among %v", want, schemes)
			}
		}
	})
}

func TestTheTokenServerOfAPlainRegistryIsSpokenToAsItSays(t *testing.T) {
	t.Parallel()
	var asked []string
	r := newTestResolver(t, New(Options{
		Hosts: map[string]Host{"plain.test": {PlainHTTP: true}},
		Transport: roundTrip(func(request *http.Request) (*http.Response, error) {
			asked = append(asked, request.URL.Scheme+"://"+request.URL.Host)
			switch {
			case request.URL.Host == "auth.test":
				return replyWith(request, `{"token":"t0ken"}`), nil
			case request.Header.Get("Authorization") != "Bearer t0ken":
				return reply(request, http.StatusUnauthorized, "WWW-Authenticate", `Bearer realm="https://auth.test/token"`), nil
			}
			return reply(request, http.StatusOK, "Docker-Content-Digest", someDigest), nil
		}),
	}))
	_, err := r.Resolve(t.Context(), "shop", "plain.test/a:v1", nil, false)
	if want := []string{"http://plain.test", "https://auth.test", "http://plain.test"}; err != nil || !slices.Equal(asked, want) {
		t.Errorf("the error is %v after %q, want %q", err, asked, want)
	}
}

func TestRedirectsLeadNeitherToPlainHTTPNorInside(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ at, to, want string }{
		"the handshake to plain HTTP":      {"/v2/", "http://r.test/v2/", "r.test: a redirect to plain HTTP was refused"},
		"the handshake inside":             {"/v2/", "https://169.254.169.254/v2/", "r.test: it leads to a private address, which was refused"},
		"the handshake inside, in two":     {"/v2/", "https://hop.test/", "r.test: it leads to a private address, which was refused"},
		"the handshake in circles":         {"/v2/", "https://r.test/v2/", "r.test: too many redirects"},
		"the manifest to plain HTTP":       {"/v2/a/manifests/v1", "http://s.test/x", "r.test: a redirect to plain HTTP was refused"},
		"the manifest inside":              {"/v2/a/manifests/v1", "https://[::ffff:10.0.0.1]/x", "r.test: it leads to a private address, which was refused"},
		"the manifest in circles":          {"/v2/a/manifests/v1", "/v2/a/manifests/v1", "r.test: too many redirects"},
		"the manifest to another registry": {"/v2/a/manifests/v1", "https://s.test/x", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var stray []*url.URL
			requests := 0
			r := newTestResolver(t, newOn(func(request *http.Request) (*http.Response, error) {
				requests++
				switch {
				case request.URL.Scheme != "https" || insideName(request.URL.Hostname()):
					stray = append(stray, request.URL)
				case request.URL.Host == "hop.test":
					return reply(request, http.StatusFound, "Location", "https://localhost:8080/"), nil
				case request.URL.Host == "s.test" && request.Header.Get("Authorization") != "":
					t.Error("another registry gets the credentials")
				case request.URL.Host == "r.test" && request.URL.Path == test.at:
					return reply(request, http.StatusTemporaryRedirect, "Location", test.to), nil
				}
				return reply(request, http.StatusOK, "Docker-Content-Digest", someDigest), nil
			}))
			_, err := r.Resolve(t.Context(), "shop", "r.test/a:v1", [][]byte{dockerConfig("r.test", "user", secret)}, false)
			if (err == nil) != (test.want == "") || err != nil && err.Error() != test.want || len(stray) > 0 || requests > 8 {
				t.Errorf("the error is %v, want %q; %d requests, %v of them astray", err, test.want, requests, stray)
			}
		})
	}
}

func TestATagIsTheDigestOfItsManifestOrIndex(t *testing.T) {
	t.Parallel()
	host := serve(t, nil)
	image := randomImage(t, 1)
	pushImage(t, host+"/shop/app:v1", image)
	index := digestOf(t, pushIndex(t, host+"/shop/many:v1", nil))
	r := newTestResolver(t, New(Options{}))
	for text, want := range map[string]string{"/shop/app:v1": digestOf(t, image), "/shop/many:v1": index} {
		if digest, err := r.Resolve(t.Context(), "shop", host+text, nil, false); err != nil || digest != want {
			t.Errorf("%s is %s, %v, want %s", text, digest, err, want)
		}
	}
	if _, err := r.Resolve(t.Context(), "shop", host+"/shop/none:v1", nil, false); err == nil || err.Error() != host+" answers 404 Not Found" {
		t.Errorf("the error is %v", err)
	}
}
