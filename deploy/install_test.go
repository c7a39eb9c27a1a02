package deploy_test

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
	"github.com/kube-prepull/kube-prepull/webhook"
)

func TestEveryPodPassesPodSecurityRestricted(t *testing.T) {
	t.Parallel()
	for _, pod := range pods(installed(t)) {
		checkRestricted(t, pod)
	}
	namespace := only[*corev1.Namespace](t, installed(t))
	if got := namespace.Labels["pod-security.kubernetes.io/enforce"]; got != "restricted" {
		t.Errorf("the namespace enforces Pod Security %q, want restricted", got)
	}
}

// TestThePageSetsTheLabelsOfTheNamespace: who does not apply deploy/namespace.yaml is told what it says of Pod Security.
func TestThePageSetsTheLabelsOfTheNamespace(t *testing.T) {
	t.Parallel()
	namespace := only[*corev1.Namespace](t, installed(t))
	command := fmt.Sprintf("\n    kubectl label namespace %s pod-security.kubernetes.io/enforce=%s --overwrite\n",
		namespace.Name, namespace.Labels["pod-security.kubernetes.io/enforce"])
	if !strings.Contains(string(read(t, "../docs/operations.md")), command) {
		t.Errorf("docs/operations.md does not say:%s", command)
	}
}

func TestPodsOfHooksPassPodSecurityRestricted(t *testing.T) {
	t.Parallel()
	for _, pod := range pods(decode(t, render(t))) {
		checkRestricted(t, pod)
	}
}

// TestOpenShiftGivesPodsTheirUsers has the chart rendered for a cluster with SecurityContextConstraints.
func TestOpenShiftGivesPodsTheirUsers(t *testing.T) {
	t.Parallel()
	for _, pod := range pods(decode(t, render(t, "--api-versions", "security.openshift.io/v1"))) {
		if s := pod.SecurityContext; s.RunAsUser != nil || s.RunAsGroup != nil || !*s.RunAsNonRoot {
			t.Errorf("a pod's security context is %+v", s)
		}
	}
}

// checkRestricted goes further than the standard: a numeric user, a read-only root and no service links.
func checkRestricted(t *testing.T, pod *corev1.PodSpec) {
	t.Helper()
	if pod.HostNetwork || pod.HostPID || pod.HostIPC {
		t.Error("a pod shares a namespace of the host")
	}
	if pod.EnableServiceLinks == nil || *pod.EnableServiceLinks {
		t.Error("a pod gets the addresses of services as variables")
	}
	s := pod.SecurityContext
	if s == nil || s.RunAsNonRoot == nil || !*s.RunAsNonRoot || s.RunAsUser == nil || *s.RunAsUser == 0 {
		t.Error("a pod may run as root")
	}
	if s == nil || s.SeccompProfile == nil || s.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Error("a pod has no seccomp profile")
	}
	for _, v := range pod.Volumes {
		if v.ConfigMap == nil && v.EmptyDir == nil {
			t.Errorf("volume %s is neither a ConfigMap nor an emptyDir", v.Name)
		}
	}
	for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
		s := c.SecurityContext
		if s == nil || s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation {
			t.Errorf("container %s may escalate", c.Name)
		}
		if s == nil || s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem {
			t.Errorf("container %s may write its root", c.Name)
		}
		if s == nil || s.Capabilities == nil || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) || len(s.Capabilities.Add) > 0 {
			t.Errorf("container %s has capabilities", c.Name)
		}
	}
}

// TestWebhooksHarmNobody holds the settings that keep the cluster working whatever becomes of us.
func TestWebhooksHarmNobody(t *testing.T) {
	t.Parallel()
	objects := installed(t)
	config := only[*admissionregistrationv1.MutatingWebhookConfiguration](t, objects)
	service := named[*corev1.Service](t, objects, v1alpha1.Name)
	excluded := []string{"kube-system", "kube-public", "kube-node-lease", service.Namespace}
	for _, w := range config.Webhooks {
		if *w.FailurePolicy != admissionregistrationv1.Ignore {
			t.Errorf("%s: nothing is admitted while we are away", w.Name)
		}
		if *w.ReinvocationPolicy != admissionregistrationv1.NeverReinvocationPolicy || *w.MatchPolicy != admissionregistrationv1.Equivalent {
			t.Errorf("%s: reinvocation %s, match %s", w.Name, *w.ReinvocationPolicy, *w.MatchPolicy)
		}
		if *w.SideEffects != admissionregistrationv1.SideEffectClassNoneOnDryRun {
			t.Errorf("%s: side effects %s would refuse dry runs", w.Name, *w.SideEffects)
		}
		if *w.TimeoutSeconds > 2 {
			t.Errorf("%s: a request may wait %d s for us", w.Name, *w.TimeoutSeconds)
		}
		if s := w.ClientConfig.Service; s == nil || (pathOf(w) != "") != (s.Path != nil) || s.Path != nil && *s.Path != pathOf(w) || s.Name != service.Name || s.Namespace != service.Namespace {
			t.Errorf("%s is served at %v", w.Name, s)
		}
		if len(w.ClientConfig.CABundle) > 0 {
			t.Errorf("%s: the chart sets the caBundle, which is the manager's", w.Name)
		}
		sees := func(name, enabled, rewrite string) bool {
			var selected = true
			labels := map[string]string{v1alpha1.LabelEnabled: enabled, v1alpha1.LabelRewrite: rewrite, corev1.LabelMetadataName: name}
			for _, e := range w.NamespaceSelector.MatchExpressions {
				selected = selected && slices.Contains(e.Values, labels[e.Key]) == (e.Operator == "In")
			}
			return selected
		}
		// Where images are pinned, one webhook does both.
		rewrites := pathOf(w) == ""
		for _, rewrite := range []string{v1alpha1.RewriteLatest, v1alpha1.RewriteTags, "", "off"} {
			pins := rewrite == v1alpha1.RewriteLatest || rewrite == v1alpha1.RewriteTags
			if sees("shop", v1alpha1.Enabled, rewrite) != (rewrites == pins) ||
				sees("shop", v1alpha1.Disabled, rewrite) != (rewrites && pins) || sees("shop", "", rewrite) != (rewrites && pins) {
				t.Errorf("%s: the opt-in labels do not decide where rewrite is %q", w.Name, rewrite)
			}
			for _, name := range excluded {
				if sees(name, v1alpha1.Enabled, rewrite) {
					t.Errorf("%s: namespace %s is seen when it is labelled", w.Name, name)
				}
			}
		}
	}
}

// pathOf is empty for the webhooks whose path the manager makes up.
func pathOf(w admissionregistrationv1.MutatingWebhook) string {
	if strings.Contains(w.Name, ".rewrite.") {
		return ""
	}
	return webhook.Path
}

func TestWebhooksSeeWhatTeaches(t *testing.T) {
	t.Parallel()
	config := only[*admissionregistrationv1.MutatingWebhookConfiguration](t, installed(t))
	got := map[string]string{}
	for _, w := range config.Webhooks {
		for _, rule := range w.Rules {
			if *rule.Scope != admissionregistrationv1.NamespacedScope {
				t.Errorf("%s: scope %s", w.Name, *rule.Scope)
			}
			for _, resource := range rule.Resources {
				operations := make([]string, len(rule.Operations))
				for i, o := range rule.Operations {
					operations[i] = string(o)
				}
				conditions := make([]string, len(w.MatchConditions))
				for i, c := range w.MatchConditions {
					conditions[i] = c.Expression
				}
				key := rule.APIGroups[0] + "/" + rule.APIVersions[0] + "/" + resource
				if pathOf(w) == "" {
					key = "rewrite " + key
				}
				got[key] = strings.Join(operations, ",") + " " + strings.Join(conditions, " && ")
			}
		}
	}
	template := "CREATE,UPDATE request.operation == 'CREATE' || object.spec.template != oldObject.spec.template"
	want := map[string]string{
		"/v1/pods":             "CREATE ",
		"apps/v1/deployments":  template,
		"apps/v1/statefulsets": template,
		"apps/v1/daemonsets":   template,
		"batch/v1/jobs":        template,
		"batch/v1/cronjobs":    "CREATE,UPDATE request.operation == 'CREATE' || object.spec.jobTemplate != oldObject.spec.jobTemplate",
	}
	for key, value := range maps.Clone(want) {
		want["rewrite "+key] = value
	}
	want["rewrite /v1/pods"] = "CREATE,UPDATE request.operation == 'CREATE' || has(oldObject.metadata.annotations) && " +
		"'kube-prepull.io/rewritten' in oldObject.metadata.annotations && object.spec != oldObject.spec"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
}

func TestPermissionsAreTheLeast(t *testing.T) {
	t.Parallel()
	objects := installed(t)
	// Events are on the workloads that they are about; reviews are questions, and nothing is stored of them; pods are created in
	// dry runs alone (TestTheManagerStoresNoPods).
	creatable := []string{"events", "tokenreviews", "subjectaccessreviews", "pods"}
	for _, role := range all[*rbacv1.ClusterRole](objects) {
		for _, rule := range role.Rules {
			// Any Secret of the cluster can be read if its name is known, and none can be listed.
			checkRule(t, role.Name, rule, []string{"get"})
			ours := slices.Equal(rule.APIGroups, []string{v1alpha1.GroupVersion.Group})
			if slices.Equal(rule.Verbs, []string{"create"}) && slices.Contains(creatable, strings.Join(rule.Resources, " ")) {
				continue
			}
			if writes(rule) && !ours && len(rule.ResourceNames) == 0 {
				t.Errorf("%s may write %v of the whole cluster", role.Name, rule.Resources)
			}
		}
	}
	for _, role := range all[*rbacv1.Role](objects) {
		for _, rule := range role.Rules {
			checkRule(t, role.Name, rule, []string{"create"}, []string{"list", "patch", "delete"})
		}
	}
}

// A policy lets the manager create pods in dry runs alone, as long as it may create any.
func TestTheManagerStoresNoPods(t *testing.T) {
	t.Parallel()
	for name, objects := range map[string][]client.Object{"kube-prepull": installed(t), "infra": decode(t, render(t, "--namespace", "infra"))} {
		policy := only[*admissionregistrationv1.ValidatingAdmissionPolicy](t, objects)
		binding := only[*admissionregistrationv1.ValidatingAdmissionPolicyBinding](t, objects)
		account := "system:serviceaccount:" + name + ":" + named[*corev1.ServiceAccount](t, objects, v1alpha1.Name).Name
		if got := policy.Spec.MatchConditions[0].Expression; !strings.Contains(got, "== '"+account+"'") || len(policy.Spec.MatchConditions) != 1 {
			t.Errorf("the policy is about those with %s, want %s", got, account)
		}
		// What is not the manager's must never be refused.
		if binding.Spec.PolicyName != policy.Name || binding.Spec.MatchResources != nil || *policy.Spec.FailurePolicy != admissionregistrationv1.Ignore {
			t.Errorf("%+v, %+v", policy.Spec, binding.Spec)
		}
	}
	objects := decode(t, render(t, "--set", "config.rewritePullPolicy=false"))
	if policies := all[*admissionregistrationv1.ValidatingAdmissionPolicy](objects); len(policies) > 0 {
		t.Errorf("without permission there is the policy %s", policies[0].Name)
	}
}

// checkRule refuses what no part of kube-prepull needs, in the cluster or in its own namespace. A rule about all Secrets
// must be one of some verbs.
func checkRule(t *testing.T, role string, rule rbacv1.PolicyRule, anySecret ...[]string) {
	t.Helper()
	words := slices.Concat(rule.APIGroups, rule.Resources, rule.Verbs)
	for _, word := range []string{"*", "escalate", "bind", "impersonate", "pods/exec", "serviceaccounts/token"} {
		if slices.Contains(words, word) {
			t.Errorf("%s is granted %s on %v", role, word, rule.Resources)
		}
	}
	granted := func(verbs []string) bool { return slices.Equal(rule.Verbs, verbs) }
	if slices.Contains(rule.Resources, "secrets") && len(rule.ResourceNames) == 0 && !slices.ContainsFunc(anySecret, granted) {
		t.Errorf("%s may %v any Secret", role, rule.Verbs)
	}
}

func writes(rule rbacv1.PolicyRule) bool {
	return slices.ContainsFunc(rule.Verbs, func(verb string) bool { return !slices.Contains([]string{"get", "list", "watch"}, verb) })
}

func TestBindingsBindTheirOwnRolesToTheManager(t *testing.T) {
	t.Parallel()
	objects := decode(t, render(t))
	accounts := map[string]bool{}
	for _, a := range all[*corev1.ServiceAccount](objects) {
		accounts[a.Namespace+"/"+a.Name] = true
	}
	check := func(name string, ref rbacv1.RoleRef, subjects []rbacv1.Subject) {
		if ref.Name != name || len(subjects) != 1 || !accounts[subjects[0].Namespace+"/"+subjects[0].Name] || subjects[0].Name != name {
			t.Errorf("binding %s binds %s to %v", name, ref.Name, subjects)
		}
	}
	for _, b := range all[*rbacv1.ClusterRoleBinding](objects) {
		check(b.Name, b.RoleRef, b.Subjects)
	}
	for _, b := range all[*rbacv1.RoleBinding](objects) {
		check(b.Name, b.RoleRef, b.Subjects)
	}
}

func TestTheManagerIsAvailable(t *testing.T) {
	t.Parallel()
	objects := installed(t)
	manager := only[*appsv1.Deployment](t, objects)
	pod := labels.Set(manager.Spec.Template.Labels)
	if *manager.Spec.Replicas != 2 {
		t.Errorf("%d replicas, want 2", *manager.Spec.Replicas)
	}
	selectors := map[string]map[string]string{
		"the Deployment":          manager.Spec.Selector.MatchLabels,
		"the Service":             named[*corev1.Service](t, objects, v1alpha1.Name).Spec.Selector,
		"the metrics' Service":    named[*corev1.Service](t, objects, "kube-prepull-metrics").Spec.Selector,
		"the PodDisruptionBudget": only[*policyv1.PodDisruptionBudget](t, objects).Spec.Selector.MatchLabels,
	}
	for _, c := range manager.Spec.Template.Spec.TopologySpreadConstraints {
		selectors["the spread over "+c.TopologyKey] = c.LabelSelector.MatchLabels
	}
	prepull := labels.Set{v1alpha1.LabelName: v1alpha1.Name, v1alpha1.LabelComponent: v1alpha1.ComponentPrepull}
	for who, selector := range selectors {
		if !labels.SelectorFromSet(selector).Matches(pod) {
			t.Errorf("%s does not select the managers", who)
		}
		if labels.SelectorFromSet(selector).Matches(prepull) {
			t.Errorf("%s selects prepull pods", who)
		}
	}
}

func TestTheConfigurationFitsTheObjects(t *testing.T) {
	t.Parallel()
	objects := installed(t)
	c := configuration(t, objects)
	if class := only[*schedulingv1.PriorityClass](t, objects); c.PriorityClassName != class.Name {
		t.Errorf("prepull pods have the priority class %s, the chart makes %s", c.PriorityClassName, class.Name)
	}
	want := map[string]int32{"webhook": int32(c.WebhookPort), "metrics": port(t, c.MetricsAddress), "health": port(t, c.HealthAddress)}
	got := map[string]int32{}
	for _, p := range only[*appsv1.Deployment](t, objects).Spec.Template.Spec.Containers[0].Ports {
		got[p.Name] = p.ContainerPort
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ports (-configuration +container):\n%s", diff)
	}
}

func port(t *testing.T, address string) int32 {
	t.Helper()
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return int32(number)
}

func TestPrepullPodsYield(t *testing.T) {
	t.Parallel()
	class := only[*schedulingv1.PriorityClass](t, installed(t))
	if class.Value >= 0 || *class.PreemptionPolicy != corev1.PreemptNever || class.GlobalDefault {
		t.Errorf("class %s: value %d, preemption %s: workloads come first", class.Name, class.Value, *class.PreemptionPolicy)
	}
}

func TestTheCRDStaysByDefault(t *testing.T) {
	t.Parallel()
	crd := only[*apiextensionsv1.CustomResourceDefinition](t, installed(t))
	if crd.Annotations["helm.sh/resource-policy"] != "keep" {
		t.Error("uninstalling deletes the images that people declared")
	}
}

// installed are the objects of install.yaml.
func installed(t *testing.T) []client.Object {
	t.Helper()
	return decode(t, string(read(t, "install.yaml")))
}

// decode parses rendered YAML into typed objects. A field that its type does not have is an error.
func decode(t *testing.T, text string) []client.Object {
	t.Helper()
	known := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, apiextensionsv1.AddToScheme} {
		if err := add(known); err != nil {
			t.Fatal(err)
		}
	}
	decoder := serializer.NewCodecFactory(known, serializer.EnableStrict).UniversalDeserializer()
	var objects []client.Object
	for document := range strings.SplitSeq("\n"+text, "\n---\n") {
		if !strings.Contains(document, "kind:") {
			continue
		}
		o, _, err := decoder.Decode([]byte(document), nil, nil)
		if err != nil {
			t.Fatalf("decoding: %v\n%s", err, document)
		}
		objects = append(objects, o.(client.Object))
	}
	return objects
}

func all[T client.Object](objects []client.Object) []T {
	var found []T
	for _, o := range objects {
		if o, ok := o.(T); ok {
			found = append(found, o)
		}
	}
	return found
}

func only[T client.Object](t *testing.T, objects []client.Object) T {
	t.Helper()
	found := all[T](objects)
	if len(found) != 1 {
		t.Fatalf("%d objects of type %T, want 1", len(found), *new(T))
	}
	return found[0]
}

func named[T client.Object](t *testing.T, objects []client.Object, name string) T {
	t.Helper()
	return only[T](t, slices.DeleteFunc(slices.Clone(objects), func(o client.Object) bool { return o.GetName() != name }))
}

func pods(objects []client.Object) []*corev1.PodSpec {
	var specs []*corev1.PodSpec
	for _, d := range all[*appsv1.Deployment](objects) {
		specs = append(specs, &d.Spec.Template.Spec)
	}
	for _, j := range all[*batchv1.Job](objects) {
		specs = append(specs, &j.Spec.Template.Spec)
	}
	for _, p := range all[*corev1.Pod](objects) {
		specs = append(specs, &p.Spec)
	}
	return specs
}

// configuration is the manager's configuration file, read as the manager reads it.
func configuration(t *testing.T, objects []client.Object) *v1alpha1.Configuration {
	t.Helper()
	c, err := v1alpha1.ParseConfiguration([]byte(named[*corev1.ConfigMap](t, objects, v1alpha1.Name).Data["config.yaml"]))
	if err != nil {
		t.Fatal(err)
	}
	return c
}
