package release

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestSBOM runs "make sbom" twice, into two folders: every file must be the same, and list what its binary was built from.
func TestSBOM(t *testing.T) {
	first, second := makeSBOM(t), makeSBOM(t)
	if diff := cmp.Diff(hashes(t, first), hashes(t, second)); diff != "" {
		t.Errorf("files of two builds (-first +second):\n%s", diff)
	}
	binaries, err := os.ReadDir(first + "/binaries")
	if err != nil {
		t.Fatal(err)
	}
	if len(binaries) != 3 {
		t.Fatalf("%d binaries, want the manager, noop and the plugin", len(binaries))
	}
	for _, binary := range binaries {
		checkSBOM(t, filepath.Join(first, "binaries", binary.Name()), filepath.Join(first, "sbom", binary.Name()+".cdx.json"))
	}
}

// makeSBOM returns the folder in which "make sbom" worked.
func makeSBOM(t *testing.T) string {
	t.Helper()
	// make refuses spaces in paths, and t.TempDir has none here.
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "make", "-C", "../..", "sbom", "BIN="+dir, "PLATFORM=linux/amd64", "VERSION=1.2.3")
	cmd.Env = append(os.Environ(), "MAKEFLAGS=", "MFLAGS=", "MAKELEVEL=")
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make sbom: %v: %s", err, output)
	}
	return dir
}

// hashes are those of every file in a folder.
func hashes(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			all[path] = hash(read(t, filepath.Join(dir, path)))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func hash(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

func checkSBOM(t *testing.T, binary, file string) {
	t.Helper()
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"std " + info.GoVersion}
	for _, module := range info.Deps {
		if module.Replace != nil {
			module = module.Replace
		}
		want = append(want, module.Path+" "+module.Version)
	}

	content := read(t, file)
	var bom struct {
		Format       string `json:"bomFormat"`
		SerialNumber string `json:"serialNumber"`
		Metadata     struct {
			Timestamp string `json:"timestamp"`
			Component struct{ Name, Version string }
		} `json:"metadata"`
		Components []struct{ Name, Version string } `json:"components"`
	}
	if err := json.Unmarshal(content, &bom); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range bom.Components {
		got = append(got, c.Name+" "+c.Version)
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: modules (-go version -m +SBOM):\n%s", filepath.Base(file), diff)
	}
	if bom.Format != "CycloneDX" || bom.Metadata.Component.Name != info.Main.Path || bom.Metadata.Component.Version != "v1.2.3" {
		t.Errorf("%s is a %s of %v", filepath.Base(file), bom.Format, bom.Metadata.Component)
	}
	if bom.SerialNumber != "" || bom.Metadata.Timestamp != "" {
		t.Errorf("%s has a serial number or a time, and differs with every build", filepath.Base(file))
	}
	if !strings.Contains(string(content), hash(read(t, binary))) {
		t.Errorf("%s does not name its binary by hash", filepath.Base(file))
	}
}
