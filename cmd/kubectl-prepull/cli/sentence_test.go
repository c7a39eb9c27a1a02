package cli

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/yaml"
)

// forbidden is the error for a request that RBAC denies.
func forbidden(verb, group, resource string) error {
	return apierrors.NewForbidden(schema.GroupResource{Group: group, Resource: resource}, "",
		fmt.Errorf("User %q cannot %s resource %q in API group %q at the cluster scope", "eve", verb, resource, group))
}

func TestSentencesSayWhatToDo(t *testing.T) {
	t.Parallel()
	ours := schema.GroupResource{Group: "kube-prepull.io", Resource: "prepullimages"}
	for name, test := range map[string]struct {
		err  error
		want string
	}{
		"no kind":               {&meta.NoKindMatchError{GroupKind: schema.GroupKind{Group: "kube-prepull.io", Kind: "PrepullImage"}}, "helm install"},
		"nothing of the group":  {fmt.Errorf("looking: %w", &apiutil.ErrResourceDiscoveryFailed{schema.GroupVersion{Group: "kube-prepull.io", Version: "v1alpha1"}: apierrors.NewNotFound(schema.GroupResource{}, "")}), "helm install"},
		"the kind is gone":      {apierrors.NewGenericServerResponse(404, "get", ours, "", "", 0, true), "helm install"},
		"an image is gone":      {apierrors.NewNotFound(ours, "app-1"), `prepullimages.kube-prepull.io "app-1" not found`},
		"who may not read":      {forbidden("list", "kube-prepull.io", "prepullimages"), "the ClusterRole kube-prepull-view allows it"},
		"who may not declare":   {forbidden("create", "kube-prepull.io", "prepullimages"), "the ClusterRole kube-prepull-wait allows it"},
		"who may not untaint":   {forbidden("patch", "", "nodes"), "no role of the chart allows it"},
		"who may read no login": {forbidden("list", "", "secrets"), "no role of the chart allows it"},
		"a policy forbids it":   {apierrors.NewForbidden(ours, "a", errors.New("denied by policy")), `"a" is forbidden: denied by policy`},
		"who is nobody":         {apierrors.NewUnauthorized("Unauthorized"), "kubectl auth whoami"},
		"no kubeconfig":         {fmt.Errorf(`Get "http://localhost:8080/api": %w`, syscall.ECONNREFUSED), "--kubeconfig"},
		"nobody listens":        {fmt.Errorf(`Get "http://10.0.0.1:6443/api": %w`, syscall.ECONNREFUSED), "is the cluster of the current context running?"},
		"no context":            {errors.New(`finding the cluster: context "x" does not exist`), "kubectl config get-contexts"},
		"no such name":          {fmt.Errorf("listing nodes: %w", &net.DNSError{Err: "no such host", Name: "k8s"}), "kubectl config view"},
		"nobody answers":        {fmt.Errorf("listing nodes: %w", os.ErrDeadlineExceeded), "be reached from here?"},
	} {
		if got := Sentence(test.err); !strings.Contains(got, test.want) || strings.HasSuffix(test.want, `found`) && got != test.want {
			t.Errorf("%s: it says %q", name, got)
		}
	}
	if NoKind(&meta.NoKindMatchError{GroupKind: schema.GroupKind{Group: "node.k8s.io", Kind: "RuntimeClass"}}) {
		t.Error("another kind is missing, and not ours")
	}
	if got := Sentence(apierrors.NewForbidden(ours, "a", errors.New("denied by policy"))); strings.Contains(got, "role") {
		t.Errorf("a role does not help against a policy: %s", got)
	}
}

// What the sentence says of kube-prepull-view is what the chart makes.
func TestTheRoleOfTheChartAllowsWhatTheSentenceSays(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../../deploy/chart/templates/clusterrole-view.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, rules, _ := strings.Cut(string(text), "\nrules:")
	var role rbacv1.ClusterRole
	if err := yaml.Unmarshal([]byte("rules:"+rules), &role); err != nil {
		t.Fatal(err)
	}
	allowed := 0
	for _, rule := range role.Rules {
		for _, resource := range rule.Resources {
			for _, verb := range rule.Verbs {
				allowed++
				if got := Sentence(forbidden(verb, rule.APIGroups[0], resource)); !strings.Contains(got, "kube-prepull-view") {
					t.Errorf("it does not name the role that allows it: %s", got)
				}
			}
		}
	}
	for _, resource := range viewed {
		if !slices.ContainsFunc(role.Rules, func(r rbacv1.PolicyRule) bool { return slices.Contains(r.Resources, resource) }) {
			t.Errorf("the role does not allow %s", resource)
		}
	}
	if allowed < 20 {
		t.Errorf("the role allows %d things: it has more", allowed)
	}
}
