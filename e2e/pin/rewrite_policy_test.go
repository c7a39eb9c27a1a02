package pin

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-prepull/kube-prepull/e2e/lab"
)

// TestPodsKeepAlwaysWhereAPolicyDemandsIt has a policy that refuses pods of one namespace with another pull policy. Pods are
// admitted there, pinned and with Always, and have IfNotPresent elsewhere.
func TestPodsKeepAlwaysWhereAPolicyDemandsIt(t *testing.T) {
	t.Parallel()
	free := pinning{lab.NewPinning(t, "policy-free", "latest")}
	strict := pinning{lab.NewPinning(t, "policy-strict", "")}
	strict.demandAlways(t)
	patch := []byte(`{"metadata":{"labels":{"kube-prepull.io/rewrite":"latest"}}}`)
	if _, err := strict.Client().CoreV1().Namespaces().Patch(t.Context(), strict.Name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	lab.Eventually(t, "every manager to know of the policy", func() error {
		for _, manager := range strict.Managers(t) {
			if kept := strict.Metric(t, manager, `kube_prepull_pull_policy_namespaces{policy="kept"}`); kept < 1 {
				return fmt.Errorf("%s knows of none", manager.Name)
			}
		}
		return nil
	})
	output, err := free.Kubectl(t.Context(), "run", "stored", "--namespace="+free.Name, "--image="+free.Image("app:v1"), "--as=system:serviceaccount:kube-prepull:kube-prepull")
	if err == nil || !strings.Contains(fmt.Sprint(output, err), "in dry runs alone") {
		t.Errorf("the manager stores a pod: %s (%v)", output, err)
	}
	for _, n := range []pinning{free, strict} {
		digest := n.Versions(t, "app", 1)[0]
		n.point(t, "app", "latest", "v1")
		image := n.Image("app:latest")
		n.create(t, "deployment", "web", podTemplate("web", image))
		n.wantPins(t, "deployment", "web", appPin(image, digest))
		want := corev1.PullIfNotPresent
		if n == strict {
			want = corev1.PullAlways
		}
		containers := containersOf(n.waitRunning(t, "web"))
		if diff := cmp.Diff(map[string]string{"app": n.digested("app", digest) + " " + string(want)}, containers); diff != "" {
			t.Errorf("%s (-want +got):\n%s", n.Name, diff)
		}
	}
}

// demandAlways makes a policy that refuses pods of the namespace with another pull policy, and waits until it does.
func (n pinning) demandAlways(t *testing.T) {
	t.Helper()
	api, exactly := n.Client().AdmissionregistrationV1(), admissionregistrationv1.Exact
	policy := &admissionregistrationv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: n.Name},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionregistrationv1.MatchResources{
				MatchPolicy: &exactly,
				ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{RuleWithOperations: admissionregistrationv1.RuleWithOperations{
					Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
					Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}},
				}}},
			},
			Validations: []admissionregistrationv1.Validation{{Expression: "object.spec.containers.all(c, c.imagePullPolicy == 'Always')", Message: "images are pulled at every start"}},
		},
	}
	binding := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: n.Name},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName: n.Name, ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny},
			MatchResources: &admissionregistrationv1.MatchResources{
				NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: n.Name}},
			},
		},
	}
	if _, err := api.ValidatingAdmissionPolicies().Create(t.Context(), policy, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := api.ValidatingAdmissionPolicies().Delete(context.Background(), n.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	if _, err := api.ValidatingAdmissionPolicyBindings().Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := api.ValidatingAdmissionPolicyBindings().Delete(context.Background(), n.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	lab.Eventually(t, "the policy to refuse pods", func() error {
		pod := lab.PodOn("", "tried", n.Image("app:v1"))
		pod.Namespace = n.Name
		_, err := n.Client().CoreV1().Pods(n.Name).Create(t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if !apierrors.IsInvalid(err) {
			return errors.Join(errors.New("a pod is not refused"), err)
		}
		return nil
	})
}
