package deploy_test

import (
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/kube-prepull/kube-prepull/api/v1alpha1"
)

// waitRole is the name of the account, of the role and of the binding.
const waitRole = "kube-prepull-wait"

func TestWhoWaitsMayDeclareImagesAndNothingElse(t *testing.T) {
	t.Parallel()
	for _, o := range installed(t) {
		if o.GetName() == waitRole {
			t.Errorf("%T is there and nobody asked for it", o)
		}
	}
	objects := decode(t, render(t, "--set", "wait.enabled=true"))
	want := []rbacv1.PolicyRule{
		{APIGroups: []string{"kube-prepull.io"}, Resources: []string{"prepullimages"}, Verbs: []string{"list", "create", "delete"}},
		{APIGroups: []string{"apps"}, Resources: []string{"deployments"}, ResourceNames: []string{"kube-prepull"}, Verbs: []string{"get"}},
	}
	if diff := cmp.Diff(want, named[*rbacv1.ClusterRole](t, objects, waitRole).Rules); diff != "" {
		t.Errorf("the role (-want +got):\n%s", diff)
	}
	subject := rbacv1.Subject{Kind: "ServiceAccount", Name: waitRole, Namespace: "kube-prepull"}
	if diff := cmp.Diff([]rbacv1.Subject{subject}, named[*rbacv1.ClusterRoleBinding](t, objects, waitRole).Subjects); diff != "" {
		t.Errorf("who has it (-want +got):\n%s", diff)
	}
	if account := named[*corev1.ServiceAccount](t, objects, waitRole); account.AutomountServiceAccountToken == nil || *account.AutomountServiceAccountToken {
		t.Error("every pod of the account gets its token, whether it asks for it or not")
	}
}

// kustomization is what the examples use of Flux' API.
type kustomization struct {
	metav1.TypeMeta `json:",inline"`
	Metadata        struct{ Name, Namespace string } `json:"metadata"`
	Spec            struct {
		Interval         metav1.Duration             `json:"interval"`
		Timeout          metav1.Duration             `json:"timeout"`
		Path             string                      `json:"path"`
		Prune            bool                        `json:"prune"`
		Force            bool                        `json:"force"`
		Wait             bool                        `json:"wait"`
		SourceRef        struct{ Kind, Name string } `json:"sourceRef"`
		DependsOn        []struct{ Name string }     `json:"dependsOn"`
		HealthCheckExprs []struct {
			APIVersion string `json:"apiVersion"`
			Kind       string `json:"kind"`
			Current    string `json:"current"`
			Failed     string `json:"failed"`
		} `json:"healthCheckExprs"`
	} `json:"spec"`
}

// TestTheExamplesOfWaiting reads every example of docs/warm-before-rollout.md: Jobs as the API server does, and the health check of
// Flux for the conditions that there are.
func TestTheExamplesOfWaiting(t *testing.T) {
	t.Parallel()
	var kinds []string
	depends := map[string]string{}
	for _, match := range fenced.FindAllStringSubmatch(string(read(t, "../docs/warm-before-rollout.md")), -1) {
		example := match[1]
		var kind metav1.TypeMeta
		if err := yaml.Unmarshal([]byte(example), &kind); err != nil {
			t.Fatal(err)
		}
		kinds = append(kinds, kind.Kind)
		switch kind.APIVersion + " " + kind.Kind {
		case "batch/v1 Job":
			checkWaitingJob(t, example)
		case v1alpha1.GroupVersion.String() + " PrepullImage":
			if err := yaml.UnmarshalStrict([]byte(example), &v1alpha1.PrepullImage{}); err != nil {
				t.Error(err)
			}
		case "kustomize.toolkit.fluxcd.io/v1 Kustomization":
			var k kustomization
			if err := yaml.UnmarshalStrict([]byte(example), &k); err != nil {
				t.Error(err)
			}
			depends[k.Metadata.Name] = ""
			for _, on := range k.Spec.DependsOn {
				depends[k.Metadata.Name] = on.Name
			}
			checkHealth(t, &k)
		default:
			t.Errorf("nothing is known of %s %s", kind.APIVersion, kind.Kind)
		}
	}
	if diff := cmp.Diff([]string{"Job", "Job", "PrepullImage", "Kustomization", "Kustomization"}, kinds); diff != "" {
		t.Errorf("examples (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"shop": "shop-images", "shop-images": ""}, depends); diff != "" {
		t.Errorf("who waits for whom (-want +got):\n%s", diff)
	}
}

func checkWaitingJob(t *testing.T, example string) {
	t.Helper()
	var job batchv1.Job
	if err := yaml.UnmarshalStrict([]byte(example), &job); err != nil {
		t.Error(err)
	}
	pod := &job.Spec.Template.Spec
	checkRestricted(t, pod)
	c := pod.Containers[0]
	repository, _, _ := strings.Cut(c.Image, ":")
	if pod.ServiceAccountName != waitRole || path.Base(repository) != "kubectl-prepull" || len(c.Args) < 2 || c.Args[0] != "wait" {
		t.Errorf("the Job of %s runs %s %v", pod.ServiceAccountName, c.Image, c.Args)
	}
	hooks := map[string]string{"helm.sh/hook": "pre-install,pre-upgrade", "argocd.argoproj.io/hook": "PreSync"}
	if !slices.ContainsFunc([]string{"helm.sh/hook", "argocd.argoproj.io/hook"}, func(key string) bool { return job.Annotations[key] == hooks[key] }) {
		t.Errorf("the Job is no hook: %v", job.Annotations)
	}
}

// conditionIn is a condition in an expression of CEL.
var conditionIn = regexp.MustCompile(`c\.type == '(\w+)' && c\.status == '(\w+)'`)

// checkHealth wants an image to be ready when the condition Ready says so, and failed when it has no place or cannot be pulled.
func checkHealth(t *testing.T, k *kustomization) {
	t.Helper()
	for _, check := range k.Spec.HealthCheckExprs {
		if check.APIVersion != v1alpha1.GroupVersion.String() || check.Kind != "PrepullImage" {
			t.Errorf("it is a check of %s %s", check.APIVersion, check.Kind)
		}
		for expression, want := range map[string][]string{
			check.Current: {v1alpha1.ConditionReady + " True"},
			check.Failed:  {v1alpha1.ConditionSelected + " False", v1alpha1.ConditionPullFailed + " True"},
		} {
			var got []string
			for _, found := range conditionIn.FindAllStringSubmatch(expression, -1) {
				got = append(got, found[1]+" "+found[2])
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", expression, diff)
			}
			if !strings.HasPrefix(expression, "has(status.conditions) && status.conditions.exists(c, ") {
				t.Errorf("it is true, or an error, of an object without conditions: %s", expression)
			}
		}
	}
	if (len(k.Spec.HealthCheckExprs) > 0) != k.Spec.Wait {
		t.Errorf("%s checks what it does not wait for, or waits and does not check", k.Metadata.Name)
	}
}
