package e2e

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-prepull/kube-prepull/e2e/images"
	"github.com/kube-prepull/kube-prepull/e2e/registry"
)

// TestAPrivateImageStartsWithTheRegistryCutOff learns a private image with the pull secret of its pods, and another one
// with that of their service account. A pod with the original secret then starts without the registry; one without
// credentials does not.
func TestAPrivateImageStartsWithTheRegistryCutOff(t *testing.T) {
	t.Parallel()
	p := ownProduct(t, "node-1", "node-2")
	p.namespace(t, "vault", true)
	p.namespace(t, "beggars", false)
	p.registry.Private("vault/*", registry.Auth{User: "clerk", Password: "planted-1"})
	app := p.push(t, "vault/app:v1", images.Image{Seed: 401})
	batch := p.push(t, "vault/batch:v1", images.Image{Seed: 402})
	p.pullSecret(t, "vault", "of-pods", corev1.SecretTypeDockerConfigJson, "planted-1")
	p.pullSecret(t, "vault", "of-account", corev1.SecretTypeDockercfg, "planted-1")
	p.accountWithSecret(t, "vault", "runner", "of-account")

	d := deployment("app", app, 0)
	d.Spec.Template.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "of-pods"}}
	p.deploy(t, "vault", d)
	p.waitState(t, app, "Ready")
	if copies := p.copies(t); len(copies) != 1 {
		t.Errorf("there are %d copies, want 1", len(copies))
	}
	d = deployment("batch", batch, 0)
	d.Spec.Template.Spec.ServiceAccountName = "runner"
	p.deploy(t, "vault", d)
	p.waitState(t, batch, "Ready")
	if copies := p.copies(t); len(copies) != 1 || copies[0].Type != corev1.SecretTypeDockerConfigJson {
		t.Errorf("two secrets of the same content have %d copies, want 1", len(copies))
	}

	p.registry.SetDown(true)
	for name, image := range map[string]string{"app": app, "batch": batch} {
		pod := podOn("node-2", name, image)
		pod.Namespace, pod.Spec.ImagePullSecrets = "vault", []corev1.LocalObjectReference{{Name: "of-pods"}}
		startPod(t, p.Cluster, pod)
		if message := p.pulledEvent(t, "vault", name); !strings.Contains(message, "already present") {
			t.Errorf("the kubelet says %q of %s, want that the image was already present", message, name)
		}
	}
	beggar := podOn("node-2", "beggar", app)
	beggar.Namespace = "beggars"
	if _, err := p.Client().CoreV1().Pods("beggars").Create(t.Context(), beggar, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, "the pod without credentials to be refused", func() error {
		pod, err := p.Client().CoreV1().Pods("beggars").Get(t.Context(), "beggar", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if reason := waitingReason(pod); reason != "ErrImagePull" && reason != "ImagePullBackOff" {
			return fmt.Errorf("it is %s %s", pod.Status.Phase, reason)
		}
		return nil
	})
	p.registry.SetDown(false)
	p.neverTold(t, "planted-1")
}

// TestPullSecretsAreFollowed changes the password of a registry, and lets the images and their namespace go.
func TestPullSecretsAreFollowed(t *testing.T) {
	t.Parallel()
	p := ownProduct(t, "node-1")
	p.namespace(t, "vault", true)
	p.registry.Private("vault/*", registry.Auth{User: "clerk", Password: "planted-2"})
	first := p.push(t, "vault/first:v1", images.Image{Seed: 411})
	d := deployment("first", first, 0)
	d.Spec.Template.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "key"}}
	p.deploy(t, "vault", d)
	object := p.waitState(t, first, "PullFailed: access denied")
	if _, _, message := condition(object, "PullFailed"); !strings.Contains(message, "the Secret vault/key does not exist") {
		t.Errorf("the message is %q", message)
	}
	// It is tried again as soon as the Secret is there, not after the back-off.
	p.pullSecret(t, "vault", "key", corev1.SecretTypeDockerConfigJson, "planted-2")
	p.waitState(t, first, "Ready")
	before := p.daemonSets(t)[0]

	p.registry.Private("vault/*", registry.Auth{User: "clerk", Password: "planted-3"})
	if err := p.Client().CoreV1().Secrets("vault").Delete(t.Context(), "key", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	p.pullSecret(t, "vault", "key", corev1.SecretTypeDockerConfigJson, "planted-3")
	second := p.push(t, "vault/second:v1", images.Image{Seed: 412})
	d = deployment("second", second, 0)
	d.Spec.Template.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "key"}}
	p.deploy(t, "vault", d)
	p.waitState(t, second, "Ready")
	after := p.daemonSets(t)[0]
	if was, is := before.Spec.Template.Spec.ImagePullSecrets, after.Spec.Template.Spec.ImagePullSecrets; !slices.Equal(was, is) {
		t.Errorf("the DaemonSet's pull secrets went from %v to %v", was, is)
	}
	p.neverTold(t, "planted-2", "planted-3")

	for _, name := range []string{"first", "second"} {
		if err := p.Client().AppsV1().Deployments("vault").Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := p.Kubectl(t.Context(), "label", "namespace", "vault", "kube-prepull.io/enabled-"); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, "the copy to go", func() error {
		if copies := p.copies(t); len(copies) > 0 {
			return fmt.Errorf("there are %d", len(copies))
		}
		return nil
	})
}

// TestPullSecretsThatMayNotBeUsed are those of namespaces that are not opted in, and all of them if they are switched off.
func TestPullSecretsThatMayNotBeUsed(t *testing.T) {
	t.Parallel()
	p := ownProduct(t, "node-1")
	p.namespace(t, "vault", true)
	p.namespace(t, "private", false)
	p.registry.Private("vault/*", registry.Auth{User: "clerk", Password: "planted-4"})
	app := p.push(t, "vault/app:v1", images.Image{Seed: 421})
	p.pullSecret(t, "private", "key", corev1.SecretTypeDockerConfigJson, "planted-4")
	p.pullSecret(t, "vault", "key", corev1.SecretTypeDockerConfigJson, "planted-4")
	output, err := p.kubectlApply(t, `{"apiVersion": "kube-prepull.io/v1alpha1", "kind": "PrepullImage", "metadata": {"name": "declared"},
		"spec": {"image": "`+app+`", "imagePullSecrets": [{"namespace": "private", "name": "key"}]}}`)
	if err != nil {
		t.Fatal(err, output)
	}
	object := p.waitState(t, app, "PullFailed: access denied")
	if _, _, message := condition(object, "PullFailed"); !strings.Contains(message, "the Secret private/key is in a namespace that is not opted in") {
		t.Errorf("the message is %q", message)
	}
	if copies := p.copies(t); len(copies) > 0 {
		t.Errorf("there are %d copies", len(copies))
	}

	again := p.mayBeRefused() // the managers before them need what is taken away
	p.configure(t, "--set", "config.pullSecrets=false")
	again()
	other := p.push(t, "vault/other:v1", images.Image{Seed: 422})
	d := deployment("other", other, 0)
	d.Spec.Template.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "key"}}
	p.deploy(t, "vault", d)
	object = p.waitState(t, other, "PullFailed: access denied")
	if _, _, message := condition(object, "PullFailed"); !strings.Contains(message, "pull secrets are switched off (pullSecrets: false)") {
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

// pullSecret makes a Secret for the test's registry, whose user is clerk.
func (p *product) pullSecret(t *testing.T, namespace, name string, kind corev1.SecretType, password string) {
	t.Helper()
	auth := base64.StdEncoding.EncodeToString([]byte("clerk:" + password))
	content := fmt.Sprintf(`{%q: {"auth": %q}}`, p.registry.Addr(), auth)
	key := corev1.DockerConfigKey
	if kind == corev1.SecretTypeDockerConfigJson {
		key, content = corev1.DockerConfigJsonKey, `{"auths": `+content+`}`
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, Type: kind, Data: map[string][]byte{key: []byte(content)}}
	if _, err := p.Client().CoreV1().Secrets(namespace).Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func (p *product) accountWithSecret(t *testing.T, namespace, name, secret string) {
	t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}, ImagePullSecrets: []corev1.LocalObjectReference{{Name: secret}}}
	if _, err := p.Client().CoreV1().ServiceAccounts(namespace).Create(t.Context(), account, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
}

// copies are the copied pull secrets.
func (p *product) copies(t *testing.T) []corev1.Secret {
	t.Helper()
	list, err := p.Client().CoreV1().Secrets(system).List(context.Background(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(list.Items, func(s corev1.Secret) bool { return !strings.HasPrefix(s.Name, "kube-prepull-pull-") })
}

// neverTold looks for passwords of the user clerk where they must not be.
func (p *product) neverTold(t *testing.T, passwords ...string) {
	t.Helper()
	neverIn(t, p.told(t), passwords...)
}

// told is what kube-prepull and kubelets say, by where: logs, Events, metrics, and objects other than Secrets.
func (p *product) told(t *testing.T) map[string]string {
	t.Helper()
	told := map[string]string{}
	for where, args := range map[string][]string{
		"PrepullImages":    {"get", "prepullimages", "-o", "json"},
		"objects":          {"get", "daemonsets,deployments,replicasets,controllerrevisions,configmaps,leases,mutatingwebhookconfigurations", "-A", "-o", "json"},
		"metadata":         {"get", "secrets", "-n", system, "-o", "jsonpath={.items[*].metadata}"},
		"logs":             {"logs", "-n", system, "-l", "app.kubernetes.io/component=webhook", "--tail=-1"},
		"Events":           {"get", "events", "-A", "-o", "json", "--field-selector=source!=kubelet"},
		"kubelets' Events": {"get", "events", "-A", "-o", "json", "--field-selector=source=kubelet"},
		"kubelets' pods":   {"get", "pods", "-A", "-o", "json"},
	} {
		output, err := p.Kubectl(t.Context(), args...)
		if err != nil {
			t.Fatal(err)
		}
		told[where] = output
	}
	for _, manager := range p.managers(t) {
		told["metrics of "+manager.Name] = p.metrics(t, manager)
	}
	return told
}

// neverIn looks for secrets in what is told, in every form.
func neverIn(t *testing.T, told map[string]string, secrets ...string) {
	t.Helper()
	for _, secret := range secrets {
		for _, form := range formsOf(secret) {
			for where, text := range told {
				if at := strings.Index(text, form); at >= 0 {
					t.Errorf("%s is in the %s: %q", form, where, text[max(0, at-300):min(len(text), at+100)])
				}
			}
		}
	}
}

// formsOf are a secret as it is, with a user before it, in base64, and as parts of URLs.
func formsOf(secret string) []string {
	var forms []string
	for _, text := range []string{secret, "clerk:" + secret} {
		forms = append(forms, text, url.QueryEscape(text), url.PathEscape(text))
		for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			forms = append(forms, encoding.EncodeToString([]byte(text)))
		}
	}
	slices.Sort(forms)
	return slices.Compact(forms)
}

func (p *product) kubectlApply(t *testing.T, manifest string) (string, error) {
	t.Helper()
	file := t.TempDir() + "/manifest.json"
	if err := os.WriteFile(file, []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	return p.Kubectl(t.Context(), "apply", "-f", file)
}
