package bootstrap

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-prepull/kube-prepull/prepull/workload"
)

// TestNodeImagesOfClouds runs the scripts with a program that prints its arguments in place of the cloud's.
func TestNodeImagesOfClouds(t *testing.T) {
	t.Parallel()
	images := []workload.Image{{Name: "nginx"}, {Name: "registry.test/a:v1"}, {Name: "docker.io/library/nginx:latest"}}
	bin := t.TempDir()
	program := filepath.Join(bin, "az")
	if err := os.WriteFile(program, []byte("#!/bin/sh\nprintf '%s\\n' \"$@\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for format, test := range map[string]struct {
		environment, arguments, want []string
	}{
		"aks-prepared-image": {
			[]string{"RESOURCE_GROUP=shop", "NAME=web", "VERSION=v1"}, []string{"--location", "a b"},
			[]string{
				"aks", "prepared-image-specification", "create", "--resource-group", "shop", "--name", "web", "--version", "v1", "--location", "a b",
				"--container-images", "nginx", "registry.test/a:v1", "docker.io/library/nginx:latest",
			},
		},
		"gke-boot-disk": {
			[]string{"BUILDER=" + program, "PROJECT=shop", "IMAGE=web"}, []string{"--zone=a b"},
			[]string{
				"--project-name=shop", "--image-name=web", "--zone=a b",
				"--container-image=docker.io/library/nginx:latest", "--container-image=registry.test/a:v1",
			},
		},
	} {
		text, notes, err := formats[format](images, nil)
		if err != nil || len(notes) > 0 {
			t.Fatal(notes, err)
		}
		run := func(environment ...string) ([]byte, error) {
			c := exec.CommandContext(t.Context(), "bash", append([]string{"-c", text, "script"}, test.arguments...)...)
			c.Env = append([]string{"PATH=" + bin + ":" + os.Getenv("PATH")}, environment...)
			return c.CombinedOutput()
		}
		output, err := run(test.environment...)
		if err != nil {
			t.Fatalf("%s: %v: %s", format, err, output)
		}
		if diff := cmp.Diff(test.want, strings.Split(strings.TrimSpace(string(output)), "\n")); diff != "" {
			t.Errorf("%s: -want +got:\n%s", format, diff)
		}
		if output, err := run(test.environment[1:]...); err == nil {
			t.Errorf("%s does not miss %s: %s", format, test.environment[0], output)
		}
		if _, _, err := formats[format]([]workload.Image{{Name: "a b"}}, nil); err == nil {
			t.Errorf("%s takes what is no image", format)
		}
		if _, _, err := formats[format](nil, nil); err == nil {
			t.Errorf("%s of no image is no error", format)
		}
	}
}

func TestADaemonSetThatIsTooLargeForTheAPIServer(t *testing.T) {
	t.Parallel()
	var images []workload.Image
	for i := range 6000 {
		images = append(images, workload.Image{Name: "registry.test/" + strings.Repeat("a", 100) + ":" + strings.Repeat("1", i%90+1)})
	}
	for count, want := range map[int]bool{5: false, len(images): true} {
		_, notes, err := daemonSets(images[:count], &Output{noopImage: "noop:1"})
		if got := strings.Contains(strings.Join(notes, "\n"), "and etcd takes"); err != nil || got != want {
			t.Errorf("with %d images the notes are %q (%v)", count, notes, err)
		}
	}
}
