package learn

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/e2e/images"
	"github.com/kube-prepull/kube-prepull/e2e/lab"
	"github.com/kube-prepull/kube-prepull/e2e/registry"
)

// TestALoginIsOfferedToNobodyElsesImage has a tenant with a wrong password for everything, and another one whose images are open.
// One of those has a name that begins with the name of the first tenant's.
func TestALoginIsOfferedToNobodyElsesImage(t *testing.T) {
	t.Parallel()
	p := product{lab.Lease(t)}
	p.Namespace(t, "careless", true)
	p.Namespace(t, "neighbour", true)
	p.Registry.Private("private/*", registry.Auth{User: "clerk", Password: "planted-6", Token: true})
	p.Registry.Private("open/*", registry.Auth{User: "clerk", Password: "planted-6", Token: true, Anonymous: true})
	wrong := map[string]string{"username": "mallory", "password": "planted-7"}
	p.logins(t, "careless", map[string]any{"*.*": wrong, "*.*.*": wrong, "*.*.*.*": wrong, p.Registry.Addr(): wrong})
	private := p.Push(t, "private/app:v1", images.Image{Seed: 431})
	near := p.Push(t, "open/app:v1", images.Image{Seed: 432})
	open, guarded := p.Push(t, "open/other:v1", images.Image{Seed: 433}), p.Push(t, "open/app2:v1", images.Image{Seed: 434})

	for name, image := range map[string]string{"private": private, "near": near} {
		d := lab.Deployment(name, image, 0)
		d.Spec.Template.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "logins"}}
		p.Deploy(t, "careless", d)
	}
	p.WaitState(t, private, "PullFailed: access denied")
	p.WaitState(t, near, "PullFailed: access denied") // as for its pods: a kubelet that has a login tries nothing else
	for name, image := range map[string]string{"open": open, "guarded": guarded} {
		p.Deploy(t, "neighbour", lab.Deployment(name, image, 0))
		p.WaitState(t, image, "Ready")
	}
	if err := p.AddNode(t.Context(), clusterNode("node-3")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.RemoveNode(context.Background(), "node-3"); err != nil {
			t.Error(err)
		}
	})
	for _, image := range []string{open, guarded} {
		p.WaitOnNodes(t, image, "node-3")
	}
	users := p.Registry.Users()
	for _, repository := range []string{"open/other", "open/app2"} {
		if of := users[repository]; of["mallory"] > 0 || of[""] == 0 {
			t.Errorf("%s was asked for by %v", repository, of)
		}
	}
	for _, repository := range []string{"private/app", "open/app"} {
		if of := users[repository]; of["mallory"] == 0 {
			t.Errorf("%s was asked for by %v", repository, of)
		}
	}
	p.NeverTold(t, "planted-6", "planted-7")
}

// TestEachTenantsImageIsPulledWithItsOwnLogin has twelve tenants with a login each for one registry, and an image each.
func TestEachTenantsImageIsPulledWithItsOwnLogin(t *testing.T) {
	t.Parallel()
	p := product{lab.Lease(t)}
	const tenants = 12
	pushed := map[string]string{}
	for i := range tenants {
		tenant := fmt.Sprintf("tenant-%02d", i)
		p.Namespace(t, tenant, true)
		p.Registry.Private(tenant+"/*", registry.Auth{User: tenant, Password: "planted-of-" + tenant})
		p.logins(t, tenant, map[string]any{p.Registry.Addr(): map[string]string{"username": tenant, "password": "planted-of-" + tenant}})
		pushed[tenant] = p.Push(t, tenant+"/app:v1", images.Image{Seed: 440 + uint64(i)})
	}
	for tenant, image := range pushed {
		d := lab.Deployment("app", image, 0)
		d.Spec.Template.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "logins"}}
		p.Deploy(t, tenant, d)
	}
	for _, image := range pushed {
		p.WaitState(t, image, "Ready")
	}
	users := p.Registry.Users()
	for tenant := range pushed {
		for user, requests := range users[tenant+"/app"] {
			if user != tenant && user != "" {
				t.Errorf("the image of %s was asked for %d times by %s", tenant, requests, user)
			}
		}
		// With a login that is refused a node asks five times for the manifest, and with a right one once before its login and once
		// with it; the manager asks for the size.
		if heads := p.Registry.Counts(tenant + "/app").ManifestHeads; heads < 2 || heads > 8 {
			t.Errorf("the image of %s was asked for %d times", tenant, heads)
		}
	}
}

// logins makes a pull secret with entries, called logins.
func (p product) logins(t *testing.T, namespace string, entries map[string]any) {
	t.Helper()
	content, err := json.Marshal(map[string]any{"auths": entries})
	if err != nil {
		t.Fatal(err)
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "logins"}, Type: corev1.SecretTypeDockerConfigJson,
		Data: map[string][]byte{corev1.DockerConfigJsonKey: content},
	}
	if _, err := p.Client().CoreV1().Secrets(namespace).Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}
