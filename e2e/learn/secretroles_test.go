package learn

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-prepull/kube-prepull/e2e/images"
	"github.com/kube-prepull/kube-prepull/e2e/lab"
	"github.com/kube-prepull/kube-prepull/e2e/registry"
)

// TestPullSecretsOfNamespacesWithARole may be read in one namespace, and not in another one until somebody binds the role there.
func TestPullSecretsOfNamespacesWithARole(t *testing.T) {
	t.Parallel()
	p := product{lab.Lease(t, "--set", "rbac.pullSecrets=namespaces")}
	p.MayBeRefused()
	app := map[string]string{}
	bind := func(namespace string) {
		output, err := p.Kubectl(t.Context(), "create", "rolebinding", "kube-prepull-pull-secrets", "--namespace", namespace,
			"--clusterrole=kube-prepull-pull-secrets", "--serviceaccount=kube-prepull:kube-prepull")
		if err != nil {
			t.Fatal(err, output)
		}
	}
	for i, namespace := range []string{"bound", "unbound"} {
		p.Namespace(t, namespace, true)
		p.Registry.Private(namespace+"/*", registry.Auth{User: "clerk", Password: "planted-6"})
		app[namespace] = p.Push(t, namespace+"/app:v1", images.Image{Seed: uint64(431 + i)})
		p.PullSecret(t, namespace, "key", corev1.SecretTypeDockerConfigJson, "planted-6")
		if namespace == "bound" {
			bind(namespace)
		}
		d := lab.Deployment("app", app[namespace], 0)
		d.Spec.Template.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "key"}}
		p.Deploy(t, namespace, d)
	}
	p.WaitState(t, app["bound"], "Ready")
	object := p.WaitState(t, app["unbound"], "PullFailed: access denied")
	if _, _, message := lab.Condition(object, "PullFailed"); !strings.Contains(message, "the Secret unbound/key may not be read by kube-prepull") {
		t.Errorf("the message is %q", message)
	}
	bind("unbound")
	p.WaitState(t, app["unbound"], "Ready")
}
