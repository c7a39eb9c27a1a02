package deploy_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// The Secrets of noop are for prepull pods, and those of the manager are not.
func TestNoopHasPullSecretsOfItsOwn(t *testing.T) {
	t.Parallel()
	objects := decode(t, render(t, "--set", "imagePullSecrets={mirror},noop.imagePullSecrets={noop}"))
	if got := configuration(t, objects).NoopPullSecrets; !slices.Equal(got, []string{"noop"}) {
		t.Errorf("prepull pods use %q", got)
	}
	if got := configuration(t, installed(t)).NoopPullSecrets; len(got) > 0 {
		t.Errorf("by default prepull pods use %q", got)
	}
	for _, pod := range pods(objects) {
		if diff := cmp.Diff([]corev1.LocalObjectReference{{Name: "mirror"}}, pod.ImagePullSecrets); diff != "" {
			t.Errorf("pull secrets of the release (-want +got):\n%s", diff)
		}
	}
}

// With roles for namespaces the chart makes one that it binds to nobody, and tells the managers.
func TestWherePullSecretsMayBeRead(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		values           []string
		anywhere, toBind bool
		configured       string
	}{
		"by default":               {nil, true, false, v1alpha1.PullSecretRolesCluster},
		"in namespaces":            {[]string{"--set", "rbac.pullSecrets=namespaces"}, false, true, v1alpha1.PullSecretRolesNamespaces},
		"nowhere":                  {[]string{"--set", "config.pullSecrets=false"}, false, false, v1alpha1.PullSecretRolesCluster},
		"nowhere, in no namespace": {[]string{"--set", "config.pullSecrets=false,rbac.pullSecrets=namespaces"}, false, false, v1alpha1.PullSecretRolesCluster},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			objects := decode(t, render(t, test.values...))
			reads := func(r rbacv1.PolicyRule) bool { return slices.Contains(r.Resources, "secrets") }
			anywhere, toBind := false, false
			for _, role := range all[*rbacv1.ClusterRole](objects) {
				if role.Name == v1alpha1.Name {
					anywhere = slices.ContainsFunc(role.Rules, reads)
				}
				if role.Name == "kube-prepull-pull-secrets" {
					toBind = true
					if diff := cmp.Diff([]rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get"}}}, role.Rules); diff != "" {
						t.Errorf("the role (-want +got):\n%s", diff)
					}
				}
			}
			config, err := v1alpha1.ParseConfiguration([]byte(named[*corev1.ConfigMap](t, objects, v1alpha1.Name).Data["config.yaml"]))
			if err != nil {
				t.Fatal(err)
			}
			if anywhere != test.anywhere || toBind != test.toBind || config.PullSecretRoles != test.configured {
				t.Errorf("anywhere %t, a role to be bound %t, configured %s", anywhere, toBind, config.PullSecretRoles)
			}
		})
	}
}
