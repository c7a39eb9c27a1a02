package lab

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// PullSecret makes a Secret for the test's registry, whose user is clerk.
func (p *Product) PullSecret(t *testing.T, namespace, name string, kind corev1.SecretType, password string) {
	t.Helper()
	auth := base64.StdEncoding.EncodeToString([]byte("clerk:" + password))
	content := fmt.Sprintf(`{%q: {"auth": %q}}`, p.Registry.Addr(), auth)
	key := corev1.DockerConfigKey
	if kind == corev1.SecretTypeDockerConfigJson {
		key, content = corev1.DockerConfigJsonKey, `{"auths": `+content+`}`
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, Type: kind, Data: map[string][]byte{key: []byte(content)}}
	if _, err := p.Client().CoreV1().Secrets(namespace).Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// AccountWithSecret makes a service account with a pull secret.
func (p *Product) AccountWithSecret(t *testing.T, namespace, name, secret string) {
	t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}, ImagePullSecrets: []corev1.LocalObjectReference{{Name: secret}}}
	if _, err := p.Client().CoreV1().ServiceAccounts(namespace).Create(t.Context(), account, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
}

// NeverTold looks for passwords of the user clerk where they must not be.
func (p *Product) NeverTold(t *testing.T, passwords ...string) {
	t.Helper()
	NeverIn(t, p.Told(t), passwords...)
}

// Told is what kube-prepull and kubelets say, by where: logs, Events, metrics, and objects other than Secrets.
func (p *Product) Told(t *testing.T) map[string]string {
	t.Helper()
	told := map[string]string{}
	for where, args := range map[string][]string{
		"PrepullImages":    {"get", "prepullimages", "-o", "json"},
		"objects":          {"get", "daemonsets,deployments,replicasets,controllerrevisions,configmaps,leases,mutatingwebhookconfigurations", "-A", "-o", "json"},
		"metadata":         {"get", "secrets", "-n", System, "-o", "jsonpath={.items[*].metadata}"},
		"logs":             {"logs", "-n", System, "-l", "app.kubernetes.io/component=webhook", "--tail=-1"},
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
	for _, manager := range p.Managers(t) {
		told["metrics of "+manager.Name] = p.Metrics(t, manager)
	}
	return told
}

// NeverIn looks for secrets in what is told, in every form.
func NeverIn(t *testing.T, told map[string]string, secrets ...string) {
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
