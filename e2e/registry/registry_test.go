package registry

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/kube-prepull/kube-prepull/e2e/images"
)

// start returns a Registry that listens on a loopback address until the test ends.
func start(t *testing.T) *Registry {
	t.Helper()
	r, err := New(Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := r.Listen("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	return r
}

// push puts an image of some size into a repository, past all faults, and returns it as the registry has it.
func push(t *testing.T, r *Registry, repo string, size int64) v1.Image {
	t.Helper()
	ref := r.Addr() + "/" + repo
	if _, err := (images.Image{Size: size, Seed: 1}).Push(t.Context(), ref, remote.WithTransport(r.Transport())); err != nil {
		t.Fatal(err)
	}
	img, err := remote.Image(reference(t, r, repo), remote.WithTransport(r.Transport()))
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// blobURL is where the first layer of an image is.
func blobURL(t *testing.T, r *Registry, repo string, img v1.Image) string {
	t.Helper()
	m, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	return "http://" + r.Addr() + "/v2/" + repo + "/blobs/" + m.Layers[0].Digest.String()
}

func manifestURL(r *Registry, repo string) string {
	return "http://" + r.Addr() + "/v2/" + repo + "/manifests/latest"
}

func reference(t *testing.T, r *Registry, repo string) name.Reference {
	t.Helper()
	ref, err := name.ParseReference(r.Addr() + "/" + repo)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// head asks for the digest of an image once, as user, and returns the status that the registry answered with.
func head(t *testing.T, r *Registry, repo string, user authn.Authenticator) int {
	t.Helper()
	_, err := remote.Head(reference(t, r, repo), remote.WithAuth(user), remote.WithContext(t.Context()),
		remote.WithRetryBackoff(remote.Backoff{Steps: 1}), remote.WithRetryStatusCodes())
	if err == nil {
		return http.StatusOK
	}
	refused, ok := err.(*transport.Error)
	if !ok {
		t.Fatalf("asking for %s: %v", repo, err)
	}
	return refused.StatusCode
}

// get returns the status, the header and the length of the body that a plain client receives, and the error with which
// the body ended.
func get(t *testing.T, url string, header ...string) (*http.Response, int64, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	return resp, n, err
}

// eventually waits until something holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: not in 10 s", what)
		}
	}
}

func TestWhatIsPushedIsPulled(t *testing.T) {
	t.Parallel()
	r := start(t)
	ref := r.Addr() + "/team/app:v1"
	digest, err := images.Image{Size: 3 << 20, Layers: 3, Files: map[string]string{"/etc/motd": "hello"}}.Push(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	tag, _ := name.ParseReference(ref)
	img, err := remote.Image(tag)
	if err != nil {
		t.Fatal(err)
	}
	if h, _ := img.Digest(); h.String() != digest {
		t.Errorf("the registry has %s, pushed was %s", h, digest)
	}
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	if len(layers) != 4 {
		t.Errorf("%d layers, want 3 random ones and one of files", len(layers))
	}
	for _, l := range layers {
		content, err := l.Compressed()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, content); err != nil { // compares the digest
			t.Error(err)
		}
	}
}

func TestPartOfABlob(t *testing.T) {
	t.Parallel()
	r := start(t)
	url := blobURL(t, r, "app", push(t, r, "app", 10_000))
	resp, size, err := get(t, url)
	if err != nil || resp.Header.Get("Docker-Content-Digest") == "" {
		t.Fatalf("digest %q, error %v", resp.Header.Get("Docker-Content-Digest"), err)
	}
	for name, tc := range map[string]struct {
		header string
		status int
		length int64
	}{
		"the first bytes":                       {"bytes=0-99", 206, 100},
		"the rest, after a cut connection":      {"bytes=6000-", 206, size - 6000},
		"more than there is ends with the blob": {"bytes=6000-99999999", 206, size - 6000},
		"nothing is left":                       {"bytes=99999999-", 416, -1},
	} {
		t.Run(name, func(t *testing.T) {
			resp, n, err := get(t, url, "Range", tc.header)
			if err != nil || resp.StatusCode != tc.status || tc.length >= 0 && n != tc.length {
				t.Errorf("status %d, %d bytes, error %v; want %d and %d bytes", resp.StatusCode, n, err, tc.status, tc.length)
			}
		})
	}
}

func TestAMissingBlob(t *testing.T) {
	t.Parallel()
	r := start(t)
	push(t, r, "app", 1)
	for name, reference := range map[string]string{
		"an unknown digest": "sha256:" + strings.Repeat("0", 64),
		"not a digest":      "sha256:..",
	} {
		resp, _, _ := get(t, "http://"+r.Addr()+"/v2/app/blobs/"+reference)
		if resp.StatusCode/100 != 4 {
			t.Errorf("%s: status %d", name, resp.StatusCode)
		}
	}
}

func TestAnUploadInParts(t *testing.T) {
	t.Parallel()
	const digest = "sha256:b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9" // of "hello world"
	type step struct {
		method, body, contentRange string
		status                     int
	}
	for name, steps := range map[string][]step{
		"all in the last request":        {{"PUT", "hello world", "", 201}},
		"all in one part":                {{"PATCH", "hello world", "", 202}, {"PUT", "", "", 201}},
		"a part and the last request":    {{"PATCH", "hello ", "", 202}, {"PUT", "world", "", 201}},
		"parts with their place":         {{"PATCH", "hello ", "0-5", 202}, {"PATCH", "world", "6-10", 202}, {"PUT", "", "", 201}},
		"a part in the wrong place":      {{"PATCH", "hello ", "0-5", 202}, {"PATCH", "world", "7-11", 416}},
		"a place that cannot be read":    {{"PATCH", "hello ", "here", 416}},
		"content that is something else": {{"PATCH", "hello you!!", "", 202}, {"PUT", "", "", 400}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := start(t)
			for i, s := range steps {
				url := "http://" + r.Addr() + "/v2/app/blobs/uploads/1"
				if s.method == "PUT" {
					url += "?digest=" + digest
				}
				req, _ := http.NewRequestWithContext(t.Context(), s.method, url, strings.NewReader(s.body))
				if s.contentRange != "" {
					req.Header.Set("Content-Range", s.contentRange)
				}
				resp, err := http.DefaultClient.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				if resp.StatusCode != s.status {
					t.Fatalf("step %d: status %d, want %d", i, resp.StatusCode, s.status)
				}
			}
			last := steps[len(steps)-1]
			resp, _, _ := get(t, "http://"+r.Addr()+"/v2/app/blobs/"+digest)
			if kept := resp.StatusCode == http.StatusOK; kept != (last.status == http.StatusCreated) {
				t.Errorf("after status %d: kept is %v", last.status, kept)
			}
			left, _ := filepath.Glob(filepath.Join(r.dir, "*-*"))
			if last.method == http.MethodPut && len(left) > 0 { // else the upload may go on
				t.Errorf("left over: %v", left)
			}
		})
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r, err := New(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Listen("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	push(t, r, "app", 1000)
	r.SetFault("app", Hang())
	hung := make(chan error, 1)
	go func() {
		resp, err := http.Get(manifestURL(r, "app"))
		if err == nil {
			resp.Body.Close()
		}
		hung <- err
	}()
	eventually(t, "a hanging request", func() bool { return r.Counts("app").ManifestGets == 1 })
	for range 2 { // the second one does nothing
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-hung; err == nil {
		t.Error("the hanging request was answered")
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left over: %v, error %v", left, err)
	}
}

func TestSeveralAddresses(t *testing.T) {
	t.Parallel()
	r := start(t)
	first := r.Addr()
	if err := r.Listen("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	if r.Addr() != first {
		t.Errorf("the address changed from %s to %s", first, r.Addr())
	}
	if err := r.Listen(first); err == nil {
		t.Error("listens twice on one address")
	}
}

func TestADirectoryThatIsNotThere(t *testing.T) {
	t.Parallel()
	if _, err := New(Options{Dir: filepath.Join(t.TempDir(), "none")}); err == nil {
		t.Error("no error")
	}
}

func TestAnswersAreErrorsOfTheDistributionSpecification(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]string{
		401: `{"errors":[{"code":"UNAUTHORIZED","message":"m"}]}`,
		404: `{"errors":[{"code":"NAME_UNKNOWN","message":"m"}]}`,
		429: `{"errors":[{"code":"TOOMANYREQUESTS","message":"m"}]}`,
		500: `{"errors":[{"code":"UNKNOWN","message":"m"}]}`,
	} {
		w := httptest.NewRecorder()
		refuse(w, status, "m")
		if diff := cmp.Diff(want, strings.TrimSpace(w.Body.String())); diff != "" || w.Code != status {
			t.Errorf("status %d, want %d:\n%s", w.Code, status, diff)
		}
	}
}
