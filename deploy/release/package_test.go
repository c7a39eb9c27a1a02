package release

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	managerDigest = "sha256:" + strings.Repeat("a", 64)
	noopDigest    = "sha256:" + strings.Repeat("b", 64)
)

// What a release installs is what was built: both images by digest, in install.yaml and in the chart.
func TestAReleaseIsPinnedByDigest(t *testing.T) {
	t.Parallel()
	checkout := releasedCheckout(t)
	dist := t.TempDir()
	if output, err := packageRelease(t, checkout, "0.1.0", managerDigest, noopDigest, dist); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	install := string(read(t, dist+"/install.yaml"))
	chart, err := exec.CommandContext(t.Context(), helm(t), "template", "kube-prepull", dist+"/kube-prepull-0.1.0.tgz", "--namespace", "kube-prepull", "--no-hooks").Output()
	if err != nil {
		t.Fatal(err)
	}
	for name, manifests := range map[string]string{"install.yaml": install, "the chart": string(chart)} {
		if n := strings.Count(manifests, "image: ghcr.io/kube-prepull/kube-prepull:0.1.0@"+managerDigest); n != 1 {
			t.Errorf("%s pins the manager %d times", name, n)
		}
		if !regexp.MustCompile(`noopImage: "ghcr.io/kube-prepull/kube-prepull-noop:\d+@` + noopDigest + `"`).MatchString(manifests) {
			t.Errorf("%s does not pin noop", name)
		}
	}
	if !strings.HasSuffix(install, string(chart)) {
		t.Error("install.yaml is not what the chart renders")
	}
	if notes := string(read(t, dist+"/notes.md")); strings.TrimSpace(notes) != "### Added\n\n- The first one." {
		t.Errorf("notes %q, want the version's part of the changelog", notes)
	}
}

func TestWhatIsNotReadyIsNotReleased(t *testing.T) {
	t.Parallel()
	checkout := releasedCheckout(t)
	tests := map[string]struct{ version, manager, noop, words string }{
		"a tag that is not the chart's version": {"0.2.0", managerDigest, noopDigest, `no line "version: 0.2.0"`},
		"an image without a digest":             {"0.1.0", "", noopDigest, "is not a digest"},
		"half a digest":                         {"0.1.0", managerDigest, noopDigest[:70], "is not a digest"},
	}
	for title, tc := range tests {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			output, err := packageRelease(t, checkout, tc.version, tc.manager, tc.noop, t.TempDir())
			if err == nil || !strings.Contains(output, tc.words) {
				t.Errorf("%v: %s, want %q", err, output, tc.words)
			}
		})
	}
	t.Run("a version without a changelog", func(t *testing.T) {
		t.Parallel()
		checkout := releasedCheckout(t)
		write(t, checkout+"/CHANGELOG.md", "# Changelog\n\n## [Unreleased]\n\n- More.\n\n## [0.1.0] - 2026-01-01\n\n## [0.0.9]\n\n- Less.\n")
		output, err := packageRelease(t, checkout, "0.1.0", managerDigest, noopDigest, t.TempDir())
		if err == nil || !strings.Contains(output, "CHANGELOG.md says nothing of 0.1.0") {
			t.Errorf("%v: %s", err, output)
		}
	})
}

// releasedCheckout is this checkout as it would be at the tag v0.1.0.
func releasedCheckout(t *testing.T) string {
	t.Helper()
	checkout := t.TempDir()
	for _, dir := range []string{"deploy/chart", "deploy/release"} {
		if err := os.CopyFS(filepath.Join(checkout, dir), os.DirFS("../../"+dir)); err != nil {
			t.Fatal(err)
		}
	}
	write(t, checkout+"/deploy/namespace.yaml", string(read(t, "../namespace.yaml")))
	chart := string(read(t, "../chart/Chart.yaml"))
	chart = regexp.MustCompile(`(?m)^(version|appVersion): .*$`).ReplaceAllString(chart, "$1: 0.1.0")
	write(t, checkout+"/deploy/chart/Chart.yaml", chart)
	write(t, checkout+"/CHANGELOG.md", "# Changelog\n\n## [Unreleased]\n\n- More.\n\n## [0.1.0] - 2026-01-01\n\n### Added\n\n- The first one.\n\n## [0.0.9]\n\n- Less.\n")
	return checkout
}

func packageRelease(t *testing.T, checkout string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", append([]string{checkout + "/deploy/release/package.sh"}, args...)...)
	cmd.Env = append(os.Environ(), "HELM="+helm(t))
	output, err := cmd.CombinedOutput()
	return string(output), err
}

// helm is the binary that HELM names, or the one in PATH.
func helm(t *testing.T) string {
	t.Helper()
	program := os.Getenv("HELM")
	if program == "" {
		program = "helm"
	}
	path, err := exec.LookPath(program)
	if err != nil {
		t.Fatalf("no helm, which make test brings: %v", err)
	}
	return path
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
