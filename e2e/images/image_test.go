package images_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/kube-prepull/kube-prepull/e2e/images"
	"github.com/kube-prepull/kube-prepull/e2e/registry"
)

func start(t *testing.T) *registry.Registry {
	t.Helper()
	r, err := registry.New(registry.Options{Dir: t.TempDir()})
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

func push(t *testing.T, r *registry.Registry, repo string, i images.Image) string {
	t.Helper()
	digest, err := i.Push(t.Context(), r.Addr()+"/"+repo)
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

func reference(t *testing.T, r *registry.Registry, repo string) name.Reference {
	t.Helper()
	ref, err := name.ParseReference(r.Addr() + "/" + repo)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func pull(t *testing.T, r *registry.Registry, repo string, opts ...remote.Option) v1.Image {
	t.Helper()
	img, err := remote.Image(reference(t, r, repo), opts...)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// contents is every file in the layers of an image: path to mode and content.
func contents(t *testing.T, img v1.Image) map[string]string {
	t.Helper()
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, l := range layers {
		rc, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		for r := tar.NewReader(rc); ; {
			h, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			content, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			files[h.Name] = fmt.Sprintf("%o %s", h.Mode, content)
		}
		if _, err := io.Copy(io.Discard, rc); err != nil { // the end, where the digest is compared
			t.Fatal(err)
		}
		if err := rc.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// This test is not parallel: others would allocate at the same time.
func TestALargeImageIsNeverInMemory(t *testing.T) {
	const size = 300 << 20
	r := start(t)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	push(t, r, "large", images.Image{Size: size, Layers: 2})
	layers, err := pull(t, r, "large").Layers()
	if err != nil {
		t.Fatal(err)
	}
	received := int64(0)
	for _, l := range layers {
		content, err := l.Compressed()
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, content)
		if err != nil {
			t.Fatal(err)
		}
		received += n
	}
	runtime.ReadMemStats(&after)
	if received < size {
		t.Errorf("received %d bytes", received)
	}
	if allocated := after.TotalAlloc - before.TotalAlloc; allocated > size/10 {
		t.Errorf("allocated %d MB to push and pull 300 MB", allocated>>20)
	}
}

func TestImages(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		image  images.Image
		layers int
		size   int64
		config v1.Config
	}{
		"the zero value":         {images.Image{}, 1, 0, v1.Config{}},
		"a size":                 {images.Image{Size: 100_000}, 1, 100_000, v1.Config{}},
		"a size of blocks":       {images.Image{Size: 512}, 1, 512, v1.Config{}},
		"layers":                 {images.Image{Size: 100_000, Layers: 3}, 3, 100_000, v1.Config{}},
		"more layers than bytes": {images.Image{Size: 2, Layers: 3}, 3, 2, v1.Config{}},
		"files":                  {images.Image{Files: map[string]string{"a": "b"}}, 2, 0, v1.Config{}},
		"what a container starts with": {
			images.Image{User: "1000:1000", Entrypoint: []string{"/app", "serve"}, Env: []string{"A=b"}},
			1, 0, v1.Config{User: "1000:1000", Entrypoint: []string{"/app", "serve"}, Env: []string{"A=b"}},
		},
		"where it starts, and what it keeps": {
			images.Image{WorkingDir: "app", Volumes: []string{"/data"}, Links: map[string]string{"data": "/elsewhere"}},
			2, 0, v1.Config{WorkingDir: "app", Volumes: map[string]struct{}{"/data": {}}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := start(t)
			digest := push(t, r, "app", tc.image)
			img := pull(t, r, "app")
			if err := validate.Image(img, validate.Fast); err != nil {
				t.Error(err)
			}
			if got, _ := img.Digest(); got.String() != digest {
				t.Errorf("the registry has %s, pushed was %s", got, digest)
			}
			config, err := img.ConfigFile()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.config, config.Config); diff != "" {
				t.Error(diff)
			}
			if config.OS != "linux" || config.Architecture != runtime.GOARCH {
				t.Errorf("it is for %s/%s", config.OS, config.Architecture)
			}
			layers, err := img.Layers()
			if err != nil || len(layers) != tc.layers {
				t.Fatalf("%d layers, error %v; want %d", len(layers), err, tc.layers)
			}
			onWire, random := int64(0), int64(0)
			for _, l := range layers {
				size, err := l.Size()
				if err != nil {
					t.Fatal(err)
				}
				onWire += size
			}
			for name, file := range contents(t, img) {
				if strings.HasPrefix(name, "random-") {
					random += int64(len(file) - len("644 "))
				}
			}
			if random != tc.size || onWire > tc.size+int64(tc.layers)<<12 {
				t.Errorf("%d random bytes, %d on the wire; want %d", random, onWire, tc.size)
			}
		})
	}
}

func TestRandomLayersDoNotCompress(t *testing.T) {
	t.Parallel()
	r := start(t)
	push(t, r, "app", images.Image{Size: 1 << 20})
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	for _, content := range contents(t, pull(t, r, "app")) {
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if out.Len() < 1<<20 {
		t.Errorf("1 MB became %d bytes", out.Len())
	}
}

func TestEqualDescriptionsAreEqualImages(t *testing.T) {
	t.Parallel()
	r := start(t)
	base := images.Image{Size: 1000, Seed: 1, Files: map[string]string{"a": "1", "b": "2", "c": "3"}}
	digest := push(t, r, "app", base)
	if again := push(t, r, "app", base); again != digest {
		t.Errorf("pushed twice: %s and %s", digest, again)
	}
	for name, change := range map[string]func(*images.Image){
		"seed":       func(i *images.Image) { i.Seed = 2 },
		"size":       func(i *images.Image) { i.Size = 1001 },
		"layers":     func(i *images.Image) { i.Layers = 2 },
		"platform":   func(i *images.Image) { i.Platform = "linux/s390x" },
		"user":       func(i *images.Image) { i.User = "1" },
		"entrypoint": func(i *images.Image) { i.Entrypoint = []string{"/a"} },
		"env":        func(i *images.Image) { i.Env = []string{"A=1"} },
		"folder":     func(i *images.Image) { i.WorkingDir = "/a" },
		"volume":     func(i *images.Image) { i.Volumes = []string{"/a"} },
		"link":       func(i *images.Image) { i.Links = map[string]string{"d": "a"} },
		"files":      func(i *images.Image) { i.Files = map[string]string{"a": "2"} },
	} {
		changed := base
		change(&changed)
		if push(t, r, "app", changed) == digest {
			t.Errorf("another %s is the same image", name)
		}
	}
	if push(t, r, "app", images.Image{Seed: 1}) == push(t, r, "app", images.Image{Seed: 2}) {
		t.Error("another seed of an empty image is the same image")
	}
}

// The digests are part of what tests rely on: they stay the same from one version of Go to the next.
func TestContentIsTheSameEverywhere(t *testing.T) {
	t.Parallel()
	r := start(t)
	push(t, r, "app", images.Image{Size: 1000, Seed: 7, Layers: 2})
	got := map[string]string{}
	for name, content := range contents(t, pull(t, r, "app")) {
		sum := sha256.Sum256([]byte(content))
		got[name] = hex.EncodeToString(sum[:4])
	}
	want := map[string]string{"random-7-0": "812c0551", "random-7-1": "7754c92a"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestFilesAndBinaries(t *testing.T) {
	t.Parallel()
	r := start(t)
	binary := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(binary, []byte("\x7fELF"), 0o600); err != nil {
		t.Fatal(err)
	}
	push(t, r, "app", images.Image{
		Files:    map[string]string{"/etc/motd": "hello", "plain": "", "../../up": "out"},
		Binaries: map[string]string{"/bin/app": binary},
	})
	want := map[string]string{
		"etc/motd": "644 hello", "plain": "644 ", "up": "644 out", "bin/app": "755 \x7fELF", "random-0-0": "644 ",
	}
	if diff := cmp.Diff(want, contents(t, pull(t, r, "app"))); diff != "" {
		t.Error(diff)
	}
}

func TestATagMoves(t *testing.T) {
	t.Parallel()
	r := start(t)
	first := push(t, r, "app:v1", images.Image{Seed: 1})
	second := push(t, r, "app:v1", images.Image{Seed: 2})
	for ref, want := range map[string]string{"app:v1": second, "app@" + first: first, "app@" + second: second} {
		got, err := pull(t, r, ref).Digest()
		if err != nil || got.String() != want {
			t.Errorf("%s is %s, error %v; want %s", ref, got, err, want)
		}
	}
}

func TestAnIndexHasAnImageForEachPlatform(t *testing.T) {
	t.Parallel()
	r := start(t)
	digest, err := images.Index{
		{Platform: "linux/amd64", Files: map[string]string{"arch": "amd64"}},
		{Platform: "linux/arm64", Files: map[string]string{"arch": "arm64"}},
		{Platform: "linux/arm/v7", Files: map[string]string{"arch": "arm"}},
	}.Push(t.Context(), r.Addr()+"/app")
	if err != nil {
		t.Fatal(err)
	}
	index, err := remote.Index(reference(t, r, "app"))
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(index, validate.Fast); err != nil {
		t.Error(err)
	}
	if got, _ := index.Digest(); got.String() != digest {
		t.Errorf("the registry has %s, pushed was %s", got, digest)
	}
	for platform, want := range map[string]string{
		"linux/amd64": "644 amd64", "linux/arm64": "644 arm64", "linux/arm/v7": "644 arm",
	} {
		p, err := v1.ParsePlatform(platform)
		if err != nil {
			t.Fatal(err)
		}
		img := pull(t, r, "app", remote.WithPlatform(*p))
		if got := contents(t, img)["arch"]; got != want {
			t.Errorf("for %s there is %q", platform, got)
		}
		config, err := img.ConfigFile()
		if err != nil || !config.Platform().Equals(*p) {
			t.Errorf("for %s there is an image for %s, error %v", platform, config.Platform(), err)
		}
	}
}

func TestAnImageForAnotherMachine(t *testing.T) {
	t.Parallel()
	r := start(t)
	push(t, r, "app", images.Image{Platform: "linux/riscv64"})
	config, err := pull(t, r, "app").ConfigFile()
	if err != nil || config.Architecture != "riscv64" {
		t.Errorf("it is for %s, error %v", config.Architecture, err)
	}
}

func TestPushRefuses(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.SetFault("bad", registry.Refuse(403))
	for name, tc := range map[string]struct {
		ref   string
		image images.Image
	}{
		"a reference that cannot be read": {"UPPER CASE", images.Image{}},
		"a platform of too many parts":    {r.Addr() + "/app", images.Image{Platform: "a/b/c/d"}},
		"a binary that is not there":      {r.Addr() + "/app", images.Image{Binaries: map[string]string{"a": "/nowhere/a"}}},
		"a registry that says no":         {r.Addr() + "/bad", images.Image{}},
	} {
		if digest, err := tc.image.Push(t.Context(), tc.ref); err == nil || digest != "" {
			t.Errorf("%s: digest %q, error %v", name, digest, err)
		}
		if digest, err := (images.Index{tc.image}).Push(t.Context(), tc.ref); err == nil || digest != "" {
			t.Errorf("%s in an index: digest %q, error %v", name, digest, err)
		}
	}
}
