package main

import (
	"archive/tar"
	"bytes"
	"context"
	"debug/elf"
	"io"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

func TestParse(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		args  string
		wrong string
	}{
		"binaries alone are enough":               {args: "-binaries out"},
		"a push is enough":                        {args: "-push registry.example.com/a:1"},
		"a folder is enough":                      {args: "-output out -target kube-prepull-noop"},
		"an image must go somewhere":              {args: "-version 1", wrong: "nowhere to put the image"},
		"an unknown target is named":              {args: "-output out -target nop", wrong: `unknown -target "nop": it is kube-prepull or kube-prepull-noop or kubectl-prepull`},
		"clocks may be fast":                      {args: "-output out -clock-speed 4"},
		"clocks may not stand still":              {args: "-output out -clock-speed 0", wrong: "-clock-speed 0: it is 1, or more for tests"},
		"a platform names an architecture":        {args: "-output out -platform linux", wrong: `-platform "linux"`},
		"a platform without a system is refused":  {args: "-output out -platform linux/amd64,", wrong: `-platform ""`},
		"only linux nodes get pods from us":       {args: "-output out -platform windows/amd64", wrong: `-platform "windows/amd64"`},
		"a target is an option, not an argument":  {args: "-output out kube-prepull", wrong: `unexpected argument "kube-prepull"`},
		"a platform of too many parts is refused": {args: "-output out -platform a/b/c/d", wrong: "parsing -platform"},
	}
	for title, tc := range tests {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			_, err := parse(strings.Fields(tc.args))
			if tc.wrong == "" && err != nil {
				t.Fatal(err)
			}
			if tc.wrong != "" && (err == nil || !strings.Contains(err.Error(), tc.wrong)) {
				t.Errorf("parse(%s) = %v, want an error with %q", tc.args, err, tc.wrong)
			}
		})
	}
}

// TestNoop builds the smaller image for two platforms, in two releases, and reads it back from where it was put.
func TestNoop(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(registry.New())
	t.Cleanup(server.Close)
	reference := strings.TrimPrefix(server.URL, "http://") + "/kube-prepull-noop:1"
	dir := filepath.Join(t.TempDir(), "layout")

	args := []string{"-target", "kube-prepull-noop", "-platform", "linux/amd64,linux/arm64", "-output", dir, "-push", reference}
	first, second := lines(t, args), lines(t, append(args, "-version", "2", "-clock-speed", "4"))
	if diff := cmp.Diff(first, second); diff != "" {
		t.Errorf("noop is another image in the next release, and every node would pull it (-first +second):\n%s", diff)
	}
	printed := regexp.MustCompile(`@(sha256:[0-9a-f]{64})$`).FindStringSubmatch(first[0])
	if len(first) != 2 || printed == nil {
		t.Fatalf("printed %q, want two references with a digest", first)
	}

	index := pull(t, reference)
	digest, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if digest.String() != printed[1] {
		t.Errorf("pushed %s, printed %s", digest, printed[1])
	}
	if err := validate.Index(index); err != nil {
		t.Errorf("the pushed index is not valid: %v", err)
	}
	written, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := written.ImageIndex(digest); err != nil {
		t.Errorf("the layout has no index %s: %v", digest, err)
	}

	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(manifest.Manifests) != 2 {
		t.Fatalf("%d images in the index, want 2", len(manifest.Manifests))
	}
	for i, arch := range []string{"amd64", "arm64"} {
		descriptor := manifest.Manifests[i]
		if got, want := descriptor.Platform.String(), "linux/"+arch; got != want {
			t.Errorf("image %d is for %s, want %s", i, got, want)
		}
		img, err := index.Image(descriptor.Digest)
		if err != nil {
			t.Fatal(err)
		}
		checkImage(t, img, targets["kube-prepull-noop"], arch, machines[arch])
		config, err := img.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if !config.Created.Equal(time.Unix(0, 0)) {
			t.Errorf("created %s: a build time makes every build another image", config.Created)
		}
	}
}

// checkImage returns the program that is the only file of the image.
func checkImage(t *testing.T, img v1.Image, target target, arch string, machine elf.Machine) []byte {
	t.Helper()
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.OS != "linux" || config.Architecture != arch {
		t.Errorf("the configuration says %s/%s, want linux/%s", config.OS, config.Architecture, arch)
	}
	// The kubelet can only verify runAsNonRoot on a numeric user.
	if config.Config.User != "65532:65532" {
		t.Errorf("user %q, want 65532:65532", config.Config.User)
	}
	if diff := cmp.Diff([]string{"/" + target.binary}, config.Config.Entrypoint); diff != "" {
		t.Errorf("entrypoint (-want +got):\n%s", diff)
	}
	checkConfig(t, target, config.Config)

	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	if len(layers) != 1 {
		t.Fatalf("%d layers, want 1", len(layers))
	}
	content, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	files := tar.NewReader(content)
	header, err := files.Next()
	if err != nil {
		t.Fatal(err)
	}
	mode := header.FileInfo().Mode()
	if header.Name != target.binary || mode != 0o555 || header.Uid != 0 {
		t.Errorf("file %s, mode %o, owner %d; want %s, 555, 0: a container must not be able to change it", header.Name, mode, header.Uid, target.binary)
	}
	if header.Size > maxImageBytes {
		t.Errorf("%d bytes, want %d at most", header.Size, maxImageBytes)
	}
	program, err := io.ReadAll(files)
	if err != nil {
		t.Fatal(err)
	}
	checkStatic(t, program, machine)
	if next, err := files.Next(); err != io.EOF {
		t.Errorf("more than one file in the image: %v (%v)", next, err)
	}
	return program
}

func checkStatic(t *testing.T, binary []byte, machine elf.Machine) {
	t.Helper()
	file, err := elf.NewFile(bytes.NewReader(binary))
	if err != nil {
		t.Fatal(err)
	}
	if file.Machine != machine {
		t.Errorf("binary for %s, want %s", file.Machine, machine)
	}
	for _, p := range file.Progs {
		if p.Type == elf.PT_INTERP {
			t.Error("the binary is linked dynamically and cannot start on an empty image")
		}
	}
}

func TestABuildThatFailsSaysWhatTheCompilerSaid(t *testing.T) {
	t.Parallel()
	_, err := compile(context.Background(), module+"/cmd/missing", v1.Platform{OS: "linux", Architecture: "amd64"}, stamp{clockSpeed: 1})
	if err == nil || !strings.Contains(err.Error(), "cmd/missing") {
		t.Errorf("compile = %v, want the compiler's words", err)
	}
}

func lines(t *testing.T, args []string) []string {
	t.Helper()
	var out bytes.Buffer
	if err := run(t.Context(), args, &out); err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(out.String()), "\n")
}

func pull(t *testing.T, reference string) v1.ImageIndex {
	t.Helper()
	ref, err := name.ParseReference(reference)
	if err != nil {
		t.Fatal(err)
	}
	index, err := remote.Index(ref)
	if err != nil {
		t.Fatal(err)
	}
	return index
}
