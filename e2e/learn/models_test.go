package learn

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/kube-prepull/kube-prepull/e2e/images"
	"github.com/kube-prepull/kube-prepull/e2e/lab"
)

// TestModelsInVolumes: images and artifacts that only a volume names are learned, brought and held like others, as
// docs/guides/gpu.md says.
func TestModelsInVolumes(t *testing.T) {
	t.Parallel()
	lab.RequireKubernetes(t, lab.ImageVolumes, "image volumes")
	p := product{lab.Shared(t)}
	p.Namespace(t, "models", true)
	server := p.Push(t, "models/server:v1", images.Image{Seed: 790})
	model := p.Push(t, "models/llama:8b", images.Image{Seed: 791, Files: map[string]string{"/model.bin": "weights"}})
	artifact := p.Registry.Addr() + "/models/artifact:v1"
	pushArtifact(t, p, artifact)
	p.Deploy(t, "models", withModel(lab.Deployment("image", server, 0), model))
	p.Deploy(t, "models", withModel(lab.Deployment("artifact", server, 0), artifact))
	for _, image := range []string{server, model, artifact} {
		p.WaitState(t, image, "Ready")
	}
	if got := p.Registry.Counts("models/artifact"); got.BlobGets < 4 {
		t.Errorf("two nodes asked for %d blobs of the artifact, want its configuration and its layer for each", got.BlobGets)
	}
	next := p.Push(t, "models/next:v1", images.Image{Seed: 792})
	p.Deploy(t, "models", lab.Deployment("next", next, 0))
	p.WaitState(t, next, "Ready")
	lab.Eventually(t, "the models to be held", func() error {
		for _, pod := range p.PrepullPods(t) {
			for _, image := range []string{model, artifact} {
				if !lab.HoldsImage(&pod.Spec, image) {
					return fmt.Errorf("%s does not hold %s", pod.Name, image)
				}
			}
			if s := pod.Status.ContainerStatuses; len(s) != 1 || !s[0].Ready {
				return fmt.Errorf("%s is not ready: %v", pod.Name, s)
			}
		}
		return nil
	})
	for _, image := range []string{model, artifact} {
		p.WaitState(t, image, "Ready")
	}
}

func withModel(d *appsv1.Deployment, image string) *appsv1.Deployment {
	spec := &d.Spec.Template.Spec
	spec.Volumes = append(spec.Volumes, corev1.Volume{Name: "model", VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: image}}})
	spec.Containers[0].VolumeMounts = append(spec.Containers[0].VolumeMounts, corev1.VolumeMount{Name: "model", MountPath: "/models"})
	return d
}

// pushArtifact pushes what is in a registry as images are, and is none.
func pushArtifact(t *testing.T, p product, reference string) {
	t.Helper()
	to, err := name.ParseReference(reference, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	var artifact v1.Image = mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), "application/vnd.example.model.config.v1+json")
	layer := static.NewLayer([]byte(strings.Repeat("weights", 1000)), "application/vnd.example.model.v1")
	if artifact, err = mutate.Append(artifact, mutate.Addendum{Layer: layer}); err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(to, artifact, remote.WithContext(t.Context()), remote.WithTransport(p.Registry.Transport())); err != nil {
		t.Fatal(err)
	}
}
