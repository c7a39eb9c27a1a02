package digest

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

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
				w.Write(make([]byte, 1<<10))
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
		}, "a redirect to a private address was refused"},
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

func TestARegistryThatIsAskedTooMuchIsLeftAlone(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		status int
		after  []string
		want   time.Duration
	}{
		"for the time that it says":          {http.StatusTooManyRequests, []string{"Retry-After", "300"}, 5 * time.Minute},
		"until the time that it says":        {http.StatusTooManyRequests, []string{"Retry-After", "Sat, 01 Jan 2000 02:00:00 GMT"}, 2 * time.Hour},
		"for a day at most":                  {http.StatusTooManyRequests, []string{"Retry-After", "2000000000"}, 24 * time.Hour},
		"for a minute if it does not say":    {http.StatusTooManyRequests, nil, time.Minute},
		"for a minute if it says no time":    {http.StatusTooManyRequests, []string{"Retry-After", "soon"}, time.Minute},
		"while it is down for a known time":  {http.StatusServiceUnavailable, []string{"Retry-After", "30"}, 30 * time.Second},
		"not because of an error of its own": {http.StatusServiceUnavailable, nil, 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				busy, requests := true, 0
				r := newOn(roundTrip(func(request *http.Request) (*http.Response, error) {
					if request.URL.Host == "busy.test" {
						requests++
					}
					if request.URL.Host == "busy.test" && busy && request.URL.Path != "/v2/" {
						return reply(request, test.status, test.after...), nil
					}
					return reply(request, http.StatusOK, "Docker-Content-Digest", someDigest), nil
				}))
				if _, err := r.Digest(t.Context(), "busy.test/a:v1", nil); err == nil || requests != 2 {
					t.Fatalf("the error is %v after %d requests, want one after 2: the handshake, and no repetition", err, requests)
				}
				busy = false
				if _, err := r.Digest(t.Context(), "other.test/a:v1", nil); err != nil {
					t.Errorf("another registry: %v", err)
				}
				if test.want > 0 {
					time.Sleep(test.want - time.Millisecond)
					_, err := r.Digest(t.Context(), "busy.test/b:v1", nil)
					var rest *RestError
					if !errors.As(err, &rest) || requests != 2 || time.Until(rest.Until()) != time.Millisecond {
						t.Errorf("shortly before the end the error is %v after %d requests, want a RestError after 2", err, requests)
					}
					time.Sleep(time.Millisecond)
				}
				if digest, err := r.Digest(t.Context(), "busy.test/b:v1", nil); err != nil || digest != someDigest {
					t.Errorf("afterwards it is %s, %v", digest, err)
				}
			})
		})
	}
}

func TestARegistryThatDoesNotAnswerHasTenSeconds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newOn(roundTrip(func(request *http.Request) (*http.Response, error) {
			<-request.Context().Done()
			return nil, request.Context().Err()
		}))
		start := time.Now()
		_, err := r.Digest(t.Context(), "slow.test/a:v1", nil)
		if took := time.Since(start); err == nil || !strings.HasSuffix(err.Error(), "slow.test did not answer within 10s") || took != 10*time.Second {
			t.Errorf("it took %v to the error %v", took, err)
		}
		var rest *RestError
		if _, err := r.Digest(t.Context(), "slow.test/b:v1", nil); !errors.As(err, &rest) {
			t.Errorf("the next error is %v, want a RestError", err)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := r.Digest(ctx, "slow.test/b:v1", nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the caller's own end gives %v", err)
		}
		if len(r.hosts.byName) != 0 {
			t.Errorf("registries are remembered for no reason: %v", r.hosts.byName)
		}
	})
}

func TestFewCallsGoOnAtTheSameTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		now, most, total := map[string]int{}, map[string]int{}, 0
		r := newOn(roundTrip(func(request *http.Request) (*http.Response, error) {
			host := request.URL.Host
			count := func(by int) {
				mu.Lock()
				defer mu.Unlock()
				for _, key := range []string{host, "all"} {
					now[key] += by
					most[key] = max(most[key], now[key])
				}
			}
			count(1)
			defer count(-1)
			time.Sleep(time.Second)
			return reply(request, http.StatusOK, "Docker-Content-Digest", someDigest), nil
		}))
		var wait sync.WaitGroup
		for i := range 30 {
			wait.Go(func() {
				if _, err := r.Digest(t.Context(), fmt.Sprintf("r%d.test/a:%d", i/10, i), nil); err != nil {
					t.Error(err)
				}
				mu.Lock()
				total++
				mu.Unlock()
			})
		}
		wait.Wait()
		if total != 30 || most["all"] != 16 || most["r0.test"] != 8 || most["r1.test"] > 8 || most["r2.test"] > 8 {
			t.Errorf("%d calls ended, at most %v at the same time; want 30, 16 in all and 8 for one registry at most", total, most)
		}
	})
}

func TestANoHoldsForTenMinutesAndForTheSameCredentials(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		requests := 0
		r := newOn(roundTrip(func(request *http.Request) (*http.Response, error) {
			requests++
			if request.URL.Path == "/v2/" {
				return reply(request, http.StatusOK), nil
			}
			return reply(request, http.StatusNotFound), nil
		}))
		auth := dockerConfig("r.test", "user", secret)
		for _, step := range []struct {
			after time.Duration
			auths [][]byte
			want  int
		}{{0, nil, 2}, {10*time.Minute - 1, nil, 2}, {0, [][]byte{auth}, 6}, {1, nil, 8}} {
			time.Sleep(step.after)
			_, err := r.Digest(t.Context(), "r.test/a:v1", step.auths)
			if err == nil || !strings.HasSuffix(err.Error(), "r.test answers 404 Not Found") || requests != step.want {
				t.Errorf("the error is %v after %d requests, want 404 after %d", err, requests, step.want)
			}
		}
	})
}
