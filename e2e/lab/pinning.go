package lab

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/remote"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/e2e/images"
)

// Pinning is a namespace whose images are pinned. Nothing is learned of it, so that the registry
// hears of its repositories from the webhook and from the pods' own pulls only.
type Pinning struct {
	*Product
	Name string
}

// NewPinning is Pinning on the shared cluster.
func NewPinning(t *testing.T, name, mode string) *Pinning {
	t.Helper()
	return Shared(t).Pinning(t, name, mode)
}

// Pinning makes a namespace with a value of the rewrite label, or without the label. Its images are in repositories below
// its name.
func (p *Product) Pinning(t *testing.T, name, mode string) *Pinning {
	t.Helper()
	n := &Pinning{p, name}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if mode != "" {
		namespace.Labels = map[string]string{"kube-prepull.io/rewrite": mode}
	}
	n.createNamespace(t, namespace)
	if mode != "" {
		n.waitPullPolicy(t)
	}
	return n
}

// waitPullPolicy waits until every manager knows that nothing in the namespace demands the pull policy Always. A bare pod with a
// pin tells, which asks no registry; so do ten in a row of all managers.
func (n *Pinning) waitPullPolicy(t *testing.T) {
	t.Helper()
	inARow := 0
	Eventually(t, "pull policies to be rewritten in "+n.Name, func() error {
		inARow++
		pod := PodOn("", "tried", n.Image("tried:latest"))
		pod.Namespace, pod.Spec.Containers[0].ImagePullPolicy = n.Name, corev1.PullAlways
		pod.Annotations = map[string]string{"pin.kube-prepull.io/app": n.Image("tried:latest") + "@sha256:" + strings.Repeat("0", 64)}
		tried, err := n.Client().CoreV1().Pods(n.Name).Create(t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err != nil {
			inARow = 0
			return err
		}
		if policy := tried.Spec.Containers[0].ImagePullPolicy; policy != corev1.PullIfNotPresent {
			inARow = 0
			return fmt.Errorf("a pod has %s", policy)
		}
		if inARow < 10 {
			return fmt.Errorf("it had IfNotPresent %d times", inARow)
		}
		return nil
	})
}

// Versions pushes images of the sleeper that differ, with the tags v1, v2 and so on, and returns their digests.
func (n *Pinning) Versions(t *testing.T, repository string, count int) []string {
	t.Helper()
	binary, err := built.command("e2e/cmd/sleeper")
	if err != nil {
		t.Fatal(err)
	}
	var digests []string
	for i := range count {
		// The environment makes equal seeds of other repositories other images.
		image := images.Image{
			Seed: uint64(i + 1), Env: []string{"REPOSITORY=" + n.Name + "/" + repository},
			Binaries: map[string]string{"/sleeper": binary}, Entrypoint: []string{"/sleeper"},
		}
		digest, err := image.Push(t.Context(), n.Image(fmt.Sprintf("%s:v%d", repository, i+1)), remote.WithTransport(n.Registry.Transport()))
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, digest)
	}
	return digests
}

// Image is a repository of the namespace, with or without a tag, as pods name it.
func (n *Pinning) Image(repository string) string {
	return n.Registry.Addr() + "/" + n.Name + "/" + repository
}

// Questions is how often a manifest of any repository of the namespace was asked for, or of one.
func (n *Pinning) Questions(repository string) int64 {
	c := n.Registry.Counts(n.Name + "/" + repository)
	return c.ManifestHeads + c.ManifestGets
}

// PinsOf are the pins of a template, or of whatever else has annotations.
func PinsOf(annotations map[string]string) map[string]string {
	pins := map[string]string{}
	for key, value := range annotations {
		if strings.HasPrefix(key, "pin.kube-prepull.io/") || strings.HasPrefix(key, "pinvol.kube-prepull.io/") {
			pins[key] = value
		}
	}
	return pins
}
