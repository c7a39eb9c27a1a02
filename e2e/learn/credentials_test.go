package learn

import (
	"github.com/kube-prepull/kube-prepull/e2e/lab"

	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/e2e/images"
	"github.com/kube-prepull/kube-prepull/e2e/registry"
)

// TestAPrivateImageStartsWithTheRegistryCutOff learns a private image with the pull secret of its pods, and another one
// with that of their service account. A pod with the original secret then starts without the registry; one without
// credentials does not, where kubelets verify that.
func TestAPrivateImageStartsWithTheRegistryCutOff(t *testing.T) {
	t.Parallel()
	p := product{lab.Lease(t)}
	p.Namespace(t, "vault", true)
	p.Namespace(t, "beggars", false)
	p.Registry.Private("vault/*", registry.Auth{User: "clerk", Password: "planted-1"})
	app := p.Push(t, "vault/app:v1", images.Image{Seed: 401})
	batch := p.Push(t, "vault/batch:v1", images.Image{Seed: 402})
	p.PullSecret(t, "vault", "of-pods", corev1.SecretTypeDockerConfigJson, "planted-1")
	p.PullSecret(t, "vault", "of-account", corev1.SecretTypeDockercfg, "planted-1")
	p.AccountWithSecret(t, "vault", "runner", "of-account")

	d := lab.Deployment("app", app, 0)
	d.Spec.Template.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "of-pods"}}
	p.Deploy(t, "vault", d)
	p.WaitState(t, app, "Ready")
	if copies := p.copies(t); len(copies) != 1 {
		t.Errorf("there are %d copies, want 1", len(copies))
	}
	d = lab.Deployment("batch", batch, 0)
	d.Spec.Template.Spec.ServiceAccountName = "runner"
	p.Deploy(t, "vault", d)
	p.WaitState(t, batch, "Ready")
	if copies := p.copies(t); len(copies) != 2 || copies[0].Type != corev1.SecretTypeDockerConfigJson || copies[1].Type != corev1.SecretTypeDockerConfigJson {
		t.Errorf("two secrets have %d copies, want 2", len(copies))
	}

	p.Registry.SetDown(true)
	for name, image := range map[string]string{"app": app, "batch": batch} {
		pod := lab.PodOn("node-2", name, image)
		pod.Namespace, pod.Spec.ImagePullSecrets = "vault", []corev1.LocalObjectReference{{Name: "of-pods"}}
		lab.StartPod(t, p.Cluster, pod)
		if message := p.PulledEvent(t, "vault", name); !strings.Contains(message, "already present") {
			t.Errorf("the kubelet says %q of %s, want that the image was already present", message, name)
		}
	}
	if lab.Kubernetes(t) >= lab.VerifiedPulls {
		p.refusesBeggar(t, app)
	}
	p.Registry.SetDown(false)
	p.NeverTold(t, "planted-1")
}

// refusesBeggar has a pod without credentials whose image is on the node.
func (p product) refusesBeggar(t *testing.T, image string) {
	t.Helper()
	beggar := lab.PodOn("node-2", "beggar", image)
	beggar.Namespace = "beggars"
	if _, err := p.Client().CoreV1().Pods("beggars").Create(t.Context(), beggar, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	lab.Eventually(t, "the pod without credentials to be refused", func() error {
		pod, err := p.Client().CoreV1().Pods("beggars").Get(t.Context(), "beggar", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if reason := lab.WaitingReason(pod); reason != "ErrImagePull" && reason != "ImagePullBackOff" {
			return fmt.Errorf("it is %s %s", pod.Status.Phase, reason)
		}
		return nil
	})
}

// TestPullSecretsAreFollowed changes the password of a registry, and lets the images and their namespace go.
func TestPullSecretsAreFollowed(t *testing.T) {
	t.Parallel()
	p := product{lab.Lease(t)}
	p.Namespace(t, "vault", true)
	p.Registry.Private("vault/*", registry.Auth{User: "clerk", Password: "planted-2"})
	first := p.Push(t, "vault/first:v1", images.Image{Seed: 411})
	d := lab.Deployment("first", first, 0)
	d.Spec.Template.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "key"}}
	p.Deploy(t, "vault", d)
	object := p.WaitState(t, first, "PullFailed: access denied")
	if _, _, message := lab.Condition(object, "PullFailed"); !strings.Contains(message, "the Secret vault/key does not exist") {
		t.Errorf("the message is %q", message)
	}
	// It is tried again as soon as the Secret is there, not after the back-off.
	p.PullSecret(t, "vault", "key", corev1.SecretTypeDockerConfigJson, "planted-2")
	p.WaitState(t, first, "Ready")
	before := p.DaemonSets(t)[0]

	p.Registry.Private("vault/*", registry.Auth{User: "clerk", Password: "planted-3"})
	if err := p.Client().CoreV1().Secrets("vault").Delete(t.Context(), "key", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	p.PullSecret(t, "vault", "key", corev1.SecretTypeDockerConfigJson, "planted-3")
	second := p.Push(t, "vault/second:v1", images.Image{Seed: 412})
	d = lab.Deployment("second", second, 0)
	d.Spec.Template.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "key"}}
	p.Deploy(t, "vault", d)
	p.WaitState(t, second, "Ready")
	after := p.DaemonSets(t)[0]
	if was, is := before.Spec.Template.Spec.ImagePullSecrets, after.Spec.Template.Spec.ImagePullSecrets; !slices.Equal(was, is) {
		t.Errorf("the DaemonSet's pull secrets went from %v to %v", was, is)
	}
	p.NeverTold(t, "planted-2", "planted-3")

	for _, name := range []string{"first", "second"} {
		if err := p.Client().AppsV1().Deployments("vault").Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := p.Kubectl(t.Context(), "label", "namespace", "vault", "kube-prepull.io/enabled-"); err != nil {
		t.Fatal(err)
	}
	lab.Eventually(t, "the copy to go", func() error {
		if copies := p.copies(t); len(copies) > 0 {
			return fmt.Errorf("there are %d", len(copies))
		}
		return nil
	})
}

// TestPullSecretsThatMayNotBeUsed are those of namespaces that are not opted in, and all of them if they are switched off.
func TestPullSecretsThatMayNotBeUsed(t *testing.T) {
	t.Parallel()
	p := product{lab.Lease(t)}
	p.Namespace(t, "vault", true)
	p.Namespace(t, "private", false)
	p.Registry.Private("vault/*", registry.Auth{User: "clerk", Password: "planted-4"})
	app := p.Push(t, "vault/app:v1", images.Image{Seed: 421})
	p.PullSecret(t, "private", "key", corev1.SecretTypeDockerConfigJson, "planted-4")
	p.PullSecret(t, "vault", "key", corev1.SecretTypeDockerConfigJson, "planted-4")
	output, err := p.kubectlApply(t, `{"apiVersion": "kube-prepull.io/v1alpha1", "kind": "PrepullImage", "metadata": {"name": "declared"},
		"spec": {"image": "`+app+`", "imagePullSecrets": [{"namespace": "private", "name": "key"}]}}`)
	if err != nil {
		t.Fatal(err, output)
	}
	object := p.WaitState(t, app, "PullFailed: access denied")
	if _, _, message := lab.Condition(object, "PullFailed"); !strings.Contains(message, "the Secret private/key is in a namespace that is not opted in") {
		t.Errorf("the message is %q", message)
	}
	if copies := p.copies(t); len(copies) > 0 {
		t.Errorf("there are %d copies", len(copies))
	}

	again := p.MayBeRefused() // the managers before them need what is taken away
	p.Configure(t, "--set", "config.pullSecrets=false")
	again()
	other := p.Push(t, "vault/other:v1", images.Image{Seed: 422})
	d := lab.Deployment("other", other, 0)
	d.Spec.Template.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "key"}}
	p.Deploy(t, "vault", d)
	object = p.WaitState(t, other, "PullFailed: access denied")
	if _, _, message := lab.Condition(object, "PullFailed"); !strings.Contains(message, "pull secrets are switched off (pullSecrets: false)") {
		t.Errorf("the message is %q", message)
	}
	if copies := p.copies(t); len(copies) > 0 {
		t.Errorf("there are %d copies", len(copies))
	}
	output, err = p.Kubectl(t.Context(), "auth", "can-i", "get", "secrets", "-n", "vault", "--as=system:serviceaccount:kube-prepull:kube-prepull")
	if !strings.HasPrefix(output, "no") {
		t.Errorf("the manager may read secrets: %s (%v)", output, err)
	}
}

// copies are the copied pull secrets.
func (p product) copies(t *testing.T) []corev1.Secret {
	t.Helper()
	list, err := p.Client().CoreV1().Secrets(lab.System).List(context.Background(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(list.Items, func(s corev1.Secret) bool { return !strings.HasPrefix(s.Name, "kube-prepull-pull-") })
}

func (p product) kubectlApply(t *testing.T, manifest string) (string, error) {
	t.Helper()
	file := t.TempDir() + "/manifest.json"
	if err := os.WriteFile(file, []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	return p.Kubectl(t.Context(), "apply", "-f", file)
}
