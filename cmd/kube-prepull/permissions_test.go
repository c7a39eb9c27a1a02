package main

import (
	"bytes"
	"os"
	"os/exec"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

func TestAPermissionIsDescribedInWords(t *testing.T) {
	t.Parallel()
	tests := map[string]authorizationv1.ResourceAttributes{
		`list pods`: {Verb: "list", Resource: "pods"},
		`patch prepullimages/status.kube-prepull.io`:            {Verb: "patch", Group: "kube-prepull.io", Resource: "prepullimages", Subresource: "status"},
		`update secrets "kube-prepull-ca" in namespace "infra"`: {Verb: "update", Resource: "secrets", Name: "kube-prepull-ca", Namespace: "infra"},
		`create daemonsets.apps in namespace "infra"`:           {Verb: "create", Group: "apps", Resource: "daemonsets", Namespace: "infra"},
	}
	for want, attributes := range tests {
		if got := describe(attributes); got != want {
			t.Errorf("described as %q, want %q", got, want)
		}
	}
}

func TestEveryVerbIsAsked(t *testing.T) {
	t.Parallel()
	got := expand([]permission{{"apps", "deployments/scale", "web", []string{"get", "patch"}}, {"", "nodes", "", []string{"list"}}}, "infra")
	want := []authorizationv1.ResourceAttributes{
		{Namespace: "infra", Verb: "get", Group: "apps", Resource: "deployments", Subresource: "scale", Name: "web"},
		{Namespace: "infra", Verb: "patch", Group: "apps", Resource: "deployments", Subresource: "scale", Name: "web"},
		{Namespace: "infra", Verb: "list", Resource: "nodes"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("questions (-want +got):\n%s", diff)
	}
}

// What is installed grants what the manager asks for at its start, and nothing else.
func TestTheInstalledRolesAreThePermissions(t *testing.T) {
	t.Parallel()
	own := []string{"--set", "config.certificates=directory", "--set", "certificate.secretName=own"}
	tests := map[string]struct {
		settings settings
		values   []string
	}{
		"as installed":                    {settings{rewritePullPolicy: true, pullSecrets: true, secretsAnywhere: true, certificates: v1alpha1.CertificatesAuto, metrics: true}, nil},
		"without pull secrets":            {settings{rewritePullPolicy: true, certificates: v1alpha1.CertificatesAuto, metrics: true}, []string{"--set", "config.pullSecrets=false"}},
		"with cert-manager":               {settings{rewritePullPolicy: true, pullSecrets: true, secretsAnywhere: true, certificates: v1alpha1.CertificatesCertManager, metrics: true}, []string{"--set", "config.certificates=cert-manager"}},
		"without cert-manager":            {settings{rewritePullPolicy: true, pullSecrets: true, secretsAnywhere: true, certificates: v1alpha1.CertificatesSelfManaged, metrics: true}, []string{"--set", "config.certificates=self-managed"}},
		"with metrics for everybody":      {settings{rewritePullPolicy: true, pullSecrets: true, secretsAnywhere: true, certificates: v1alpha1.CertificatesAuto}, []string{"--set", "config.metricsAuthentication=false"}},
		"without metrics":                 {settings{rewritePullPolicy: true, pullSecrets: true, secretsAnywhere: true, certificates: v1alpha1.CertificatesAuto}, []string{"--set-string", "config.metricsAddress=0"}},
		"with a certificate of one's own": {settings{rewritePullPolicy: true, pullSecrets: true, secretsAnywhere: true, certificates: v1alpha1.CertificatesDirectory, metrics: true}, own},
		"with that, and no pull secrets":  {settings{rewritePullPolicy: true, certificates: v1alpha1.CertificatesDirectory, metrics: true}, append(slices.Clone(own), "--set", "config.pullSecrets=false")},
		"with a condition on nodes":       {settings{rewritePullPolicy: true, pullSecrets: true, secretsAnywhere: true, certificates: v1alpha1.CertificatesAuto, metrics: true, nodeCondition: true}, []string{"--set", "config.nodeCondition=true"}},
		"with a role for each namespace":  {settings{rewritePullPolicy: true, pullSecrets: true, certificates: v1alpha1.CertificatesAuto, metrics: true}, []string{"--set", "rbac.pullSecrets=namespaces"}},
		"with roles for no Secrets":       {settings{rewritePullPolicy: true, certificates: v1alpha1.CertificatesAuto, metrics: true}, []string{"--set", "rbac.pullSecrets=namespaces,config.pullSecrets=false"}},
		"with pull policies left alone":   {settings{pullSecrets: true, secretsAnywhere: true, certificates: v1alpha1.CertificatesAuto, metrics: true}, []string{"--set", "config.rewritePullPolicy=false"}},
		"with a gate":                     {settings{rewritePullPolicy: true, pullSecrets: true, secretsAnywhere: true, certificates: v1alpha1.CertificatesAuto, metrics: true, gate: true}, []string{"--set", "config.gate.enabled=true"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			manifest := installYAML(t)
			if len(test.values) > 0 {
				manifest = render(t, test.values)
			}
			var clusterRole rbacv1.ClusterRole
			var role rbacv1.Role
			find(t, manifest, "ClusterRole", v1alpha1.Name, &clusterRole)
			find(t, manifest, "Role", v1alpha1.Name, &role)
			if diff := cmp.Diff(descriptions(clusterPermissions(test.settings)), granted(clusterRole.Rules)); diff != "" {
				t.Errorf("ClusterRole (-asked for +granted):\n%s", diff)
			}
			if diff := cmp.Diff(descriptions(namespacePermissions(test.settings)), granted(role.Rules)); diff != "" {
				t.Errorf("Role (-asked for +granted):\n%s", diff)
			}
		})
	}
}

func TestWhatIsAskedForFollowsTheConfiguration(t *testing.T) {
	t.Parallel()
	const header = "apiVersion: kube-prepull.io/v1alpha1\nkind: Configuration\nnoopImage: noop\n"
	for text, want := range map[string]settings{
		"":                             {pullSecrets: true, secretsAnywhere: true, rewritePullPolicy: true, certificates: v1alpha1.CertificatesAuto, metrics: true},
		"pullSecretRoles: namespaces":  {pullSecrets: true, rewritePullPolicy: true, certificates: v1alpha1.CertificatesAuto, metrics: true},
		"pullSecrets: false":           {rewritePullPolicy: true, certificates: v1alpha1.CertificatesAuto, metrics: true},
		"rewritePullPolicy: false":     {pullSecrets: true, secretsAnywhere: true, certificates: v1alpha1.CertificatesAuto, metrics: true},
		"metricsAuthentication: false": {pullSecrets: true, secretsAnywhere: true, rewritePullPolicy: true, certificates: v1alpha1.CertificatesAuto},
		"nodeCondition: true\ngate: {enabled: true}": {pullSecrets: true, secretsAnywhere: true, rewritePullPolicy: true, certificates: v1alpha1.CertificatesAuto, metrics: true, nodeCondition: true, gate: true},
	} {
		c, err := v1alpha1.ParseConfiguration([]byte(header + text))
		if err != nil {
			t.Fatal(err)
		}
		if got := permissionsFor(c); got != want {
			t.Errorf("%q: %+v", text, got)
		}
	}
}

// render renders the chart with values.
func render(t *testing.T, values []string) []byte {
	t.Helper()
	binary := os.Getenv("HELM")
	if binary == "" {
		binary = "helm"
	}
	if _, err := exec.LookPath(binary); err != nil {
		t.Skip("SKIPPED: no helm: put it in PATH, or set HELM to a binary, to test the chart")
	}
	command := exec.CommandContext(t.Context(), binary, append([]string{"template", "kube-prepull", "../../deploy/chart", "--namespace", "kube-prepull", "--no-hooks"}, values...)...)
	manifest, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	return manifest
}

func TestTheInstalledConfigurationIsValid(t *testing.T) {
	t.Parallel()
	var config corev1.ConfigMap
	find(t, installYAML(t), "ConfigMap", v1alpha1.Name, &config)
	if _, err := v1alpha1.ParseConfiguration([]byte(config.Data["config.yaml"])); err != nil {
		t.Error(err)
	}
}

func descriptions(permissions []permission) []string {
	var all []string
	for _, attributes := range expand(permissions, "") {
		all = append(all, describe(attributes))
	}
	slices.Sort(all)
	return all
}

func granted(rules []rbacv1.PolicyRule) []string {
	var permissions []permission
	for _, rule := range rules {
		names := rule.ResourceNames
		if len(names) == 0 {
			names = []string{""}
		}
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				for _, name := range names {
					permissions = append(permissions, permission{group, resource, name, rule.Verbs})
				}
			}
		}
	}
	return descriptions(permissions)
}

func installYAML(t *testing.T) []byte {
	t.Helper()
	file, err := os.ReadFile("../../deploy/install.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// find reads one object of a manifest.
func find(t *testing.T, manifest []byte, kind, name string, into any) {
	t.Helper()
	for document := range bytes.SplitSeq(manifest, []byte("\n---\n")) {
		var object metav1.PartialObjectMetadata
		if err := yaml.Unmarshal(document, &object); err != nil {
			t.Fatal(err)
		}
		if object.Kind == kind && object.Name == name {
			if err := yaml.UnmarshalStrict(document, into); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("no %s %s in the manifest", kind, name)
}
