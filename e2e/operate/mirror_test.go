package operate

import (
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-prepull/kube-prepull/e2e/images"
	"github.com/kube-prepull/kube-prepull/e2e/lab"
	"github.com/kube-prepull/kube-prepull/e2e/registry"
)

// TestEverythingFromAPrivateMirror has a registry that lets nobody in without a login. The managers have one, and so has a
// workload; its image says that prepull pods cannot pull noop, until they have one for that, which opens nothing else.
func TestEverythingFromAPrivateMirror(t *testing.T) {
	t.Parallel()
	p := product{lab.Uninstalled(t, "node-1")}
	p.Registry.Private("*", registry.Auth{User: "clerk", Password: "planted-7"})
	if _, err := p.Kubectl(t.Context(), "apply", "-f", lab.Source("deploy/namespace.yaml")); err != nil {
		t.Fatal(err)
	}
	p.login(t, lab.System, "mirror", p.Home())
	p.login(t, lab.System, "noop", p.Home()+"/kube-prepull-noop")
	if err := p.Install(t.Context(), "--set", "imagePullSecrets={mirror}"); err != nil {
		t.Fatal(err)
	}
	p.Namespace(t, "shop", true)
	p.login(t, "shop", "mirror", p.Home())
	image := func(name string, seed uint64) string {
		return p.Home() + strings.TrimPrefix(p.Push(t, "shop/"+name+":v1", images.Image{Seed: seed}), p.Registry.Addr())
	}
	app, other := image("app", 670), image("other", 671)
	d := lab.Deployment("app", app, 1)
	d.Spec.Template.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "mirror"}}
	p.Deploy(t, "shop", d)
	lab.Eventually(t, "the image to say that prepull pods cannot pull noop", func() error {
		object := p.PrepullImage(t, app)
		if object == nil {
			return errors.New("it is not known")
		}
		if said := lab.Field(object, "status", "conditions"); !strings.Contains(said, "PrepullPodFails") || !strings.Contains(said, "/kube-prepull-noop") {
			return errors.New(said)
		}
		return nil
	})
	p.Configure(t, "--set", "imagePullSecrets={mirror}", "--set", "noop.imagePullSecrets={noop}")
	p.WaitState(t, app, "Ready")
	p.Deploy(t, "shop", lab.Deployment("other", other, 0))
	p.WaitState(t, other, "PullFailed: access denied")
}

// login makes a Secret with the login of the mirror, as the docs say: for a registry, or for a repository of it.
func (p product) login(t *testing.T, namespace, name, server string) {
	t.Helper()
	if _, err := p.Kubectl(t.Context(), "create", "secret", "docker-registry", name, "--namespace", namespace,
		"--docker-server", server, "--docker-username", "clerk", "--docker-password", "planted-7"); err != nil {
		t.Fatal(err)
	}
}
