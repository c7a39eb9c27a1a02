package learn

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/remote"
	corev1 "k8s.io/api/core/v1"

	"github.com/kube-prepull/kube-prepull/e2e/images"
	"github.com/kube-prepull/kube-prepull/e2e/lab"
)

// TestNothingOfAnImageRuns has images that put a program of their own where noop may be, by a VOLUME that is a link, and one that has a
// working directory which no runtime takes. All of them are pulled, and nothing of them runs.
func TestNothingOfAnImageRuns(t *testing.T) {
	t.Parallel()
	p := product{lab.Shared(t)}
	p.Namespace(t, "harmless", true)
	intruder, err := lab.Command("e2e/cmd/intruder")
	if err != nil {
		t.Fatal(err)
	}
	guessed := "/prepull-" + strings.Repeat("0", 32)
	var all []string
	for name, image := range map[string]images.Image{
		"known":    {Links: map[string]string{"/x": "/prepull"}, Volumes: []string{"/x"}, Binaries: map[string]string{"/prepull/noop": intruder}},
		"guessed":  {Links: map[string]string{"/x": guessed}, Volumes: []string{"/x"}, Binaries: map[string]string{guessed + "/noop": intruder}},
		"plain":    {Volumes: []string{"/prepull", "prepull", guessed}, Binaries: map[string]string{"/prepull/noop": intruder, guessed + "/noop": intruder}},
		"relative": {WorkingDir: "app"},
	} {
		reference := p.Registry.Addr() + "/harmless/" + name + ":v1"
		if _, err := image.Push(t.Context(), reference, remote.WithTransport(p.Registry.Transport())); err != nil {
			t.Fatal(err)
		}
		p.Deploy(t, "harmless", lab.Deployment(name, reference, 0))
		all = append(all, reference)
	}
	for _, image := range all {
		p.WaitState(t, image, "Ready")
	}
	for _, pod := range p.PrepullPods(t) {
		for _, s := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
			for _, state := range []corev1.ContainerState{s.State, s.LastTerminationState} {
				if state.Terminated != nil && strings.Contains(state.Terminated.Message, "owned") {
					t.Errorf("in %s the image of %s ran", pod.Name, s.Name)
				}
			}
		}
	}
}

// TestDataOfAVolumeIsCopiedOnlyWhileItIsBrought counts the copies that container runtimes make of what an image has in a VOLUME.
func TestDataOfAVolumeIsCopiedOnlyWhileItIsBrought(t *testing.T) {
	t.Parallel()
	lab.RequireKubernetes(t, lab.ImageVolumes, "image volumes")
	p := product{lab.Shared(t)}
	p.Namespace(t, "volumes", true)
	copies := func() []string {
		found, err := filepath.Glob(filepath.Join(p.Dir(), "nodes/*/var/lib/containerd/io.containerd.grpc.v1.cri/containers/*/volumes/*/of-a-volume"))
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	image := p.Push(t, "volumes/data:v1", images.Image{Seed: 780, Volumes: []string{"/data"}, Files: map[string]string{"/data/of-a-volume": "x"}})
	p.Deploy(t, "volumes", lab.Deployment("data", image, 0))
	// Any change of the list ends it, and other tests change the list, too.
	nodes := map[string]bool{}
	lab.Eventually(t, "a copy on each of two nodes while the image is brought", func() error {
		for _, file := range copies() {
			node, _, _ := strings.Cut(strings.TrimPrefix(file, filepath.Join(p.Dir(), "nodes")+"/"), "/")
			nodes[node] = true
		}
		if len(nodes) < 2 {
			return fmt.Errorf("there were copies on %v, and docs/operations.md says that there is one on each", nodes)
		}
		return nil
	})
	p.WaitState(t, image, "Ready")
	next := p.Push(t, "volumes/next:v1", images.Image{Seed: 781})
	p.Deploy(t, "volumes", lab.Deployment("next", next, 0))
	p.WaitState(t, next, "Ready")
	lab.Eventually(t, "the copies to go when the image is held", func() error {
		if left := copies(); len(left) > 0 {
			return fmt.Errorf("there are %q", left)
		}
		if !p.Listed(t, image) {
			return errors.New("the image is not listed any more")
		}
		return nil
	})
}
