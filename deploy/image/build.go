package main

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	module = "github.com/kube-prepull/kube-prepull"
	user   = "65532:65532"
)

// target is one image: a binary at its root, and nothing else.
type target struct {
	pkg    string
	binary string
	// stamped binaries have a stamp linked in. There is none in noop: one that did not change is the same image in every
	// release, so that no node pulls it again.
	stamped bool
}

var targets = map[string]target{
	"kube-prepull":      {pkg: module + "/cmd/kube-prepull", binary: "kube-prepull", stamped: true},
	"kube-prepull-noop": {pkg: module + "/cmd/noop", binary: "noop"},
	"kubectl-prepull":   {pkg: module + "/cmd/kubectl-prepull", binary: "kubectl-prepull", stamped: true},
}

// stamp is what a binary is told when it is linked.
type stamp struct {
	// version that it reports; empty leaves it to the source.
	version string
	// clockSpeed is how many times as fast as in production its clocks are: 1, unless it is for tests.
	clockSpeed int
}

// ldflags leave out what the source has anyway, so that the Dockerfile makes the same binary.
func (s stamp) ldflags() string {
	flags := "-s -w"
	if s.version != "" {
		flags += " -X main.version=" + s.version
	}
	if s.clockSpeed != 1 {
		flags += fmt.Sprintf(" -X main.clockSpeed=%d", s.clockSpeed)
	}
	return flags
}

// program is the binary of a target for one platform.
type program struct {
	platform v1.Platform
	content  []byte
}

// compileAll builds the programs of a target, in the order of the platforms.
func compileAll(ctx context.Context, t target, platforms []v1.Platform, s stamp) ([]program, error) {
	if !t.stamped {
		s = stamp{clockSpeed: 1}
	}
	programs := make([]program, 0, len(platforms))
	for _, p := range platforms {
		content, err := compile(ctx, t.pkg, p, s)
		if err != nil {
			return nil, fmt.Errorf("compiling for %s: %w", p, err)
		}
		programs = append(programs, program{platform: p, content: content})
	}
	return programs, nil
}

// compile builds a static binary whose bytes depend on the source, the Go release, the platform and the stamp alone:
// no paths, no commit, and no settings of whoever builds.
func compile(ctx context.Context, pkg string, p v1.Platform, s stamp) ([]byte, error) {
	dir, err := os.MkdirTemp("", "kube-prepull-image-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)

	file := filepath.Join(dir, "binary")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", s.ldflags(), "-o", file, pkg)
	// A variable that is empty would leave what "go env -w" has set.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+p.OS, "GOARCH="+p.Architecture,
		"GOAMD64=v1", "GOARM64=v8.0", "GOFIPS140=off", "GOFLAGS=-trimpath")
	if output, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, bytes.TrimSpace(output))
	}
	return os.ReadFile(file)
}

// assemble joins the images of a target's programs in an index.
func assemble(t target, programs []program) (v1.ImageIndex, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, p := range programs {
		img, err := image(t, p.platform, p.content)
		if err != nil {
			return nil, fmt.Errorf("assembling for %s: %w", p.platform, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &p.platform}})
	}
	return index, nil
}

// writePrograms writes programs as <binary>-<system>-<architecture>, as they are in the images.
func writePrograms(dir string, t target, programs []program) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, p := range programs {
		file := filepath.Join(dir, t.binary+"-"+p.platform.OS+"-"+p.platform.Architecture)
		if err := os.WriteFile(file, p.content, 0o755); err != nil {
			return err
		}
	}
	return nil
}

func image(t target, p v1.Platform, binary []byte) (v1.Image, error) {
	archive, err := archive(t.binary, binary)
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(archive)), nil
	}, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	img := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	img = mutate.ConfigMediaType(img, types.OCIConfigJSON)
	if img, err = mutate.AppendLayers(img, layer); err != nil {
		return nil, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = p.OS, p.Architecture
	config.Created = v1.Time{Time: time.Unix(0, 0).UTC()}
	config.Config = v1.Config{
		User:       user,
		Entrypoint: []string{"/" + t.binary},
		Labels: map[string]string{
			"org.opencontainers.image.licenses": "Apache-2.0",
			"org.opencontainers.image.source":   "https://" + module,
		},
	}
	return mutate.ConfigFile(img, config)
}

func archive(file string, content []byte) ([]byte, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	header := &tar.Header{Typeflag: tar.TypeReg, Name: file, Size: int64(len(content)), Mode: 0o555, ModTime: time.Unix(0, 0)}
	if err := w.WriteHeader(header); err != nil {
		return nil, err
	}
	if _, err := w.Write(content); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}
