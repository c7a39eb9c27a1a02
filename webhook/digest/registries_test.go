package digest

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func TestAnImageHasTheDigestAndTheSizeOfItsManifest(t *testing.T) {
	t.Parallel()
	host := serve(t, nil)
	image := randomImage(t, 3)
	pushImage(t, host+"/shop/app:v1", image)
	want := Manifest{Digest: digestOf(t, image), Bytes: wireSize(t, image)}
	r := New(Options{})
	for _, text := range []string{host + "/shop/app:v1", host + "/shop/app@" + want.Digest, host + "/shop/app:other@" + want.Digest} {
		if got, err := r.Look(t.Context(), text, "amd64", nil); err != nil || got != want {
			t.Errorf("Look(%s) is %v, %v, want %v", text, got, err, want)
		}
		if got, err := r.Digest(t.Context(), text, nil); err != nil || got != want.Digest {
			t.Errorf("Digest(%s) is %s, %v, want %s", text, got, err, want.Digest)
		}
	}
}

func TestAnIndexHasItsOwnDigestAndTheSizeOfThePlatform(t *testing.T) {
	t.Parallel()
	host := serve(t, nil)
	images := map[string]v1.Image{"linux/amd64": randomImage(t, 1), "linux/arm64": randomImage(t, 4), "windows/amd64": randomImage(t, 2), "unknown/unknown": randomImage(t, 5)}
	want := digestOf(t, pushIndex(t, host+"/shop/app:v1", images))
	r := New(Options{})
	for _, arch := range []string{"amd64", "arm64"} {
		got, err := r.Look(t.Context(), host+"/shop/app:v1", arch, nil)
		if size := wireSize(t, images["linux/"+arch]); err != nil || got != (Manifest{want, size}) {
			t.Errorf("for %s it is %v, %v, want %s and %d bytes", arch, got, err, want, size)
		}
	}
	if _, err := r.Look(t.Context(), host+"/shop/app:v1", "riscv64", nil); err == nil || !strings.Contains(err.Error(), "there is no manifest for linux/riscv64") {
		t.Errorf("for riscv64 the error is %v", err)
	}
}

func TestOnlyTheDigestIsAskedWithAHeadRequest(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change func(w http.ResponseWriter, r *http.Request) bool
		gets   int32
	}{
		"a registry that answers it": {func(http.ResponseWriter, *http.Request) bool { return false }, 0},
		"one that does not know HEAD": {func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return true
		}, 1},
		"one that leaves the digest out": {func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(http.StatusOK)
			return true
		}, 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var gets atomic.Int32
			host := serve(t, func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if strings.Contains(r.URL.Path, "/manifests/") && r.Method == http.MethodGet {
						gets.Add(1)
					}
					// The push asks with HEAD too, before there is anything.
					if strings.HasSuffix(r.URL.Path, "/manifests/v1") && r.Method == http.MethodHead && strings.HasPrefix(r.UserAgent(), "kube-prepull") && test.change(w, r) {
						return
					}
					next.ServeHTTP(w, r)
				})
			})
			image := randomImage(t, 1)
			pushImage(t, host+"/app:v1", image)
			before := gets.Load()
			got, err := New(Options{}).Digest(t.Context(), host+"/app:v1", nil)
			if err != nil || got != digestOf(t, image) {
				t.Errorf("the digest is %s, %v, want %s", got, err, digestOf(t, image))
			}
			if after := gets.Load() - before; after != test.gets {
				t.Errorf("there were %d GET requests, want %d", after, test.gets)
			}
		})
	}
}

func TestCredentialsAreTriedInOrderAndNeverTold(t *testing.T) {
	t.Parallel()
	for name, wrap := range map[string]func(http.Handler) http.Handler{"basic": basic, "token": token} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storage := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
			open := httptest.NewServer(storage)
			t.Cleanup(open.Close)
			image := randomImage(t, 1)
			pushImage(t, strings.TrimPrefix(open.URL, "http://")+"/shop/app:v1", image)
			var requests atomic.Int32
			guarded := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				requests.Add(1)
				wrap(storage).ServeHTTP(w, r)
			}))
			t.Cleanup(guarded.Close)
			host := strings.TrimPrefix(guarded.URL, "http://")

			r := New(Options{})
			wrong, right := dockerConfig(host, "user", "wrong-"+secret), dockerConfig(host+"/shop", "user", secret)
			got, err := r.Look(t.Context(), host+"/shop/app:v1", "amd64", [][]byte{wrong, []byte("{"), right})
			if want := (Manifest{digestOf(t, image), wireSize(t, image)}); err != nil || got != want {
				t.Errorf("with the right credential it is %v, %v, want %v", got, err, want)
			}
			for _, auths := range [][][]byte{nil, {wrong}, {dockerConfig("other.test", "user", secret)}} {
				_, err := r.Digest(t.Context(), host+"/shop/app:v1", auths)
				if err == nil || err.Error() != "asking for the digest of "+host+"/shop/app:v1: "+host+" answers 401 Unauthorized" {
					t.Errorf("without it the error is %v", err)
				}
			}
			before := requests.Load()
			if _, err := r.Look(t.Context(), host+"/shop/app:v1", "amd64", [][]byte{wrong}); err == nil {
				t.Error("the wrong credential is good enough the second time")
			}
			if after := requests.Load(); after != before {
				t.Errorf("the answer no was not remembered: %d more requests", after-before)
			}
		})
	}
}

func TestWhateverGoesWrongNamesTheImageAndNoSecret(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		handle func(w http.ResponseWriter, r *http.Request)
		want   string
	}{
		"an answer that is too large": {func(w http.ResponseWriter, r *http.Request) {
			for range 5 << 10 {
				w.Write(bytes.Repeat([]byte(" "), 1<<10))
			}
		}, "the answer is too large"},
		"an error that repeats the credential": {func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, `{"errors":[{"code":"DENIED","message":"`+secret+`"}]}`, http.StatusInternalServerError)
		}, "answers 500 Internal Server Error"},
		"a manifest that is none": {func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, secret)
		}, "the manifest is not valid JSON"},
		"an artifact that is no image": {func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, `{}`)
		}, "it is not the manifest of an image"},
		"impossible sizes": {func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, `{"config":{"size":9223372036854775807},"layers":[{"digest":"a","size":1}]}`)
		}, "the manifest has impossible sizes"},
		"an index that leads elsewhere": {func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, `{"manifests":[{"digest":"../../x","platform":{"os":"linux","architecture":"amd64"}}]}`)
		}, "the index has an invalid digest"},
		"a redirect into the private network": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://169.254.169.254/?"+secret, http.StatusFound)
		}, "it leads to a private address, which was refused"},
		"a connection that is cut": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, "{")
		}, "the connection was closed"},
		"a token server that repeats what it was sent": {func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/token" {
				fmt.Fprintf(w, `{"refresh_token":"%s"}`, secret)
				return
			}
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token?%s"`, r.Host, secret))
			w.WriteHeader(http.StatusUnauthorized)
		}, "the answer is not understood"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host := serve(t, func(http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/v2/" && !strings.Contains(name, "token") {
						return
					}
					test.handle(w, r)
				})
			})
			_, err := New(Options{}).Look(t.Context(), host+"/app:v1", "amd64", [][]byte{dockerConfig(host, "user", secret)})
			if !strings.HasPrefix(test.want, "answers ") {
				test.want = ": " + test.want
			} else {
				test.want = " " + test.want
			}
			want := "asking for the manifest of " + host + "/app:v1: " + host + test.want
			if err == nil || err.Error() != want {
				t.Errorf("the error is %v, want %s", err, want)
			}
		})
	}
}
