package lab

import (
	"fmt"
	"slices"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	corev1 "k8s.io/api/core/v1"

	"github.com/kube-prepull/kube-prepull/e2e/registry"
)

// PodIdentities are the names and UIDs of pods, with how often their containers were restarted.
func PodIdentities(pods []corev1.Pod) []string {
	var identities []string
	for _, pod := range pods {
		identity := pod.Name + " " + string(pod.UID)
		for _, s := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
			identity += fmt.Sprintf(" %s:%d", s.Name, s.RestartCount)
		}
		identities = append(identities, identity)
	}
	return identities
}

// Retag gives an image of a registry one more tag.
func Retag(t *testing.T, r *registry.Registry, image, tag string) {
	t.Helper()
	from, err := name.ParseReference(r.Addr()+"/"+image, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	transport := remote.WithTransport(r.Transport())
	descriptor, err := remote.Get(from, transport)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Tag(from.Context().Tag(tag), descriptor, transport); err != nil {
		t.Fatal(err)
	}
}

// StopManagers waits until none runs any more. One that is told to stop leads until it goes, and is called by nobody.
func (p *Product) StopManagers(t *testing.T) {
	t.Helper()
	p.ScaleManagers(t, 0)
	Eventually(t, "the managers to be gone", func() error {
		pods, err := p.managerPods(t.Context())
		if err == nil && len(pods) > 0 {
			err = fmt.Errorf("there are %d", len(pods))
		}
		return err
	})
}

// KillManagers ends all of them without a farewell.
func (p *Product) KillManagers(t *testing.T) {
	t.Helper()
	pods, err := p.managerPods(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p.ScaleManagers(t, 0)
	// A kubelet gives them their time, whatever became of their pods.
	for _, pod := range pods {
		for _, pid := range ProcessesWith(t, "HOSTNAME="+pod.Name) {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have gone by itself
		}
	}
	const of = "app.kubernetes.io/component=webhook"
	if _, err := p.Kubectl(t.Context(), "delete", "pod", "--namespace="+System, "--selector="+of, "--force", "--grace-period=0"); err != nil {
		t.Fatal(err)
	}
}
