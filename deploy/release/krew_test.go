package release

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// plugin is a manifest of krew: https://krew.sigs.k8s.io/docs/developer-guide/plugin-manifest.
type plugin struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string
	Metadata   struct{ Name string }
	Spec       struct {
		Version          string
		Homepage         string
		ShortDescription string `yaml:"shortDescription"`
		Description      string
		Platforms        []struct {
			Selector struct {
				MatchLabels map[string]string `yaml:"matchLabels"`
			}
			URI    string `yaml:"uri"`
			SHA256 string `yaml:"sha256"`
			Bin    string
		}
	}
}

// TestThePluginIsOneThatKrewInstalls holds the rules of krew's index (internal/index/validation and validate-krew-manifest in
// sigs.k8s.io/krew), and that archives are the same when they are made again.
func TestThePluginIsOneThatKrewInstalls(t *testing.T) {
	t.Parallel()
	dist, again := packPlugin(t), packPlugin(t)
	content := read(t, dist+"/prepull.yaml")
	if !bytes.Equal(content, read(t, again+"/prepull.yaml")) {
		t.Error("two runs differ")
	}
	var p plugin
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	decoder.KnownFields(true)
	if err := decoder.Decode(&p); err != nil {
		t.Fatal(err)
	}
	spec := p.Spec
	switch {
	case p.APIVersion != "krew.googlecontainertools.github.com/v1alpha2" || p.Kind != "Plugin" || p.Metadata.Name != "prepull":
		t.Errorf("it is a %s %s %s", p.APIVersion, p.Kind, p.Metadata.Name)
	case !regexp.MustCompile(`^v\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$`).MatchString(spec.Version):
		t.Errorf("the version %s is none of semver with a v", spec.Version)
	case spec.ShortDescription == "" || strings.ContainsAny(spec.ShortDescription, "\r\n") || strings.HasSuffix(spec.ShortDescription, ".") || len(spec.ShortDescription) > 60:
		t.Errorf("the short description is %q", spec.ShortDescription)
	case !strings.HasPrefix(spec.Homepage, "https://") || spec.Description == "" || strings.Contains(spec.Description, "kubectl plugin"):
		t.Errorf("the homepage is %s, the description %q", spec.Homepage, spec.Description)
	}
	supported := []string{"darwin/amd64", "darwin/arm64", "linux/amd64", "linux/arm64", "windows/amd64", "windows/arm64"}
	var platforms []string
	for _, platform := range spec.Platforms {
		labels := platform.Selector.MatchLabels
		platforms = append(platforms, labels["os"]+"/"+labels["arch"])
		file := filepath.Base(platform.URI)
		if platform.URI != "https://github.com/kube-prepull/kube-prepull/releases/download/"+spec.Version+"/"+file || len(labels) != 2 {
			t.Errorf("%s is for %v", platform.URI, labels)
		}
		archive := read(t, filepath.Join(dist, file))
		if hash(archive) != platform.SHA256 {
			t.Errorf("%s has another hash", file)
		}
		if want := map[bool]string{true: "kubectl-prepull.exe", false: "kubectl-prepull"}[labels["os"] == "windows"]; platform.Bin != want {
			t.Errorf("%s runs %s", file, platform.Bin)
		}
		if got, want := filesIn(t, archive), (map[string]string{platform.Bin: platforms[len(platforms)-1], "LICENSE": string(read(t, "../../LICENSE"))}); len(got) != 2 || got[platform.Bin] != want[platform.Bin] || got["LICENSE"] != want["LICENSE"] {
			t.Errorf("%s has not the program and the license", file)
		}
	}
	if !slices.Equal(platforms, supported) {
		t.Errorf("the platforms are %q, want each once: %q", platforms, supported)
	}
}

// packPlugin packs binaries that have their platform in them.
func packPlugin(t *testing.T) string {
	t.Helper()
	dist := t.TempDir()
	for _, platform := range []string{"linux/amd64", "linux/arm64", "darwin/amd64", "darwin/arm64", "windows/amd64", "windows/arm64"} {
		name := dist + "/kubectl-prepull-" + strings.ReplaceAll(platform, "/", "-")
		if strings.HasPrefix(platform, "windows") {
			name += ".exe"
		}
		write(t, name, platform)
	}
	if output, err := exec.CommandContext(t.Context(), "./krew.sh", "0.1.0", dist).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	return dist
}

func filesIn(t *testing.T, archive []byte) map[string]string {
	t.Helper()
	unzipped, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for reader := tar.NewReader(unzipped); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(reader)
		if err != nil {
			t.Fatal(err)
		}
		if header.Name != "LICENSE" && header.Mode&0o111 == 0 {
			t.Errorf("%s cannot be run", header.Name)
		}
		files[header.Name] = string(content)
	}
}
