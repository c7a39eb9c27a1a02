package digest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

const secret = "hunter2-secret"

// serve is a registry behind a handler, and its host.

func serve(t *testing.T, wrap func(http.Handler) http.Handler) string {
	t.Helper()
	handler := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	if wrap != nil {
		handler = wrap(handler)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func randomImage(t *testing.T, layers int64) v1.Image {
	t.Helper()
	image, err := random.Image(1000, layers)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// wireSize is the size of the layers and the configuration of an image.

func wireSize(t *testing.T, image v1.Image) int64 {
	t.Helper()
	manifest, err := image.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	sum := manifest.Config.Size
	for _, layer := range manifest.Layers {
		sum += layer.Size
	}
	return sum
}

func digestOf(t *testing.T, of interface{ Digest() (v1.Hash, error) }) string {
	t.Helper()
	digest, err := of.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest.String()
}

func pushImage(t *testing.T, to string, image v1.Image) {
	t.Helper()
	ref, err := name.ParseReference(to)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, image); err != nil {
		t.Fatal(err)
	}
}

func pushIndex(t *testing.T, to string, images map[string]v1.Image) v1.ImageIndex {
	t.Helper()
	index := v1.ImageIndex(empty.Index)
	for platform, image := range images {
		os, arch, _ := strings.Cut(platform, "/")
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: os, Architecture: arch}}})
	}
	ref, err := name.ParseReference(to)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(ref, index); err != nil {
		t.Fatal(err)
	}
	return index
}

func dockerConfig(host, username, password string) []byte {
	text, _ := json.Marshal(map[string]any{"auths": map[string]any{host: map[string]string{
		"auth": base64.StdEncoding.EncodeToString([]byte(username + ":" + password)),
	}}})
	return text
}

// basic lets only one user in.

func basic(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if username, password, _ := r.BasicAuth(); username != "user" || password != secret {
			w.Header().Set("WWW-Authenticate", `Basic realm="shop"`)
			http.Error(w, r.Header.Get("Authorization"), http.StatusUnauthorized) // repeats what it was sent
			return
		}
		next.ServeHTTP(w, r)
	})
}

// token lets only the owner of a token in, which only one user gets.

func token(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/token":
			if username, password, _ := r.BasicAuth(); username != "user" || password != secret {
				http.Error(w, r.Header.Get("Authorization"), http.StatusUnauthorized)
				return
			}
			if scope := r.URL.Query().Get("scope"); scope != "repository:shop/app:pull" {
				http.Error(w, scope, http.StatusBadRequest)
				return
			}
			fmt.Fprint(w, `{"token":"t0ken"}`)
		case r.Header.Get("Authorization") != "Bearer t0ken":
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="shop"`, r.Host))
			http.Error(w, "no", http.StatusUnauthorized)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// roundTrip answers without a network, so that time can be the test's.

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func newOn(f roundTrip) *Registries { return New(Options{Transport: f}) }

func reply(r *http.Request, status int, header ...string) *http.Response {
	w := httptest.NewRecorder()
	for i := 0; i < len(header); i += 2 {
		w.Header().Set(header[i], header[i+1])
	}
	w.WriteHeader(status)
	response := w.Result()
	response.Request = r
	return response
}

const someDigest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
